//! One request, up to its response headers.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::time::{Instant, timeout, timeout_at};

use crate::dial::Connection;
use crate::failure::{Answer, Failure, FailureKind};

/// How much of an error's body is kept.
pub const MAX_ERROR_BODY: usize = 64 << 10;
/// How long an error's body may take: the status is worth more than its last byte.
const ERROR_BODY_TIME: Duration = Duration::from_secs(2);

/// A stream that the service has accepted: both directions are open.
#[derive(Debug)]
pub struct Exchange {
    /// Towards the service.
    pub send: SendStream<Bytes>,
    /// From the service.
    pub recv: RecvStream,
    /// The response's headers: names in lower case.
    pub headers: Vec<(String, String)>,
}

/// How long a request may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// By when the peer must have said something in HTTP/2.
    pub heard_by: Instant,
    /// The setting behind `heard_by`, for the message.
    pub connection_timeout: Duration,
    /// From the request to the response headers.
    pub subscription_timeout: Duration,
}

/// Sends the request and waits for the answer's headers.
///
/// # Errors
/// Any answer but 200, a deadline, or the connection's end.
pub async fn exchange(
    connection: Connection,
    request: Request<()>,
    deadlines: Deadlines,
) -> Result<Exchange, Failure> {
    let heard = connection.heard.clone();
    let spoken = async {
        if timeout_at(deadlines.heard_by, heard.wait()).await.is_err() {
            return Failure::new(
                FailureKind::ConnectTimeout,
                format!(
                    "no HTTP/2 from the peer within connection_timeout ({:?})",
                    deadlines.connection_timeout
                ),
            );
        }
        std::future::pending().await
    };
    let answered = async {
        let mut requests = connection
            .requests
            .ready()
            .await
            .map_err(|error| Failure::from_h2(&error))?;
        let (response, send) = requests
            .send_request(request, false)
            .map_err(|error| Failure::from_h2(&error))?;
        drop(requests);
        let response = timeout(deadlines.subscription_timeout, response)
            .await
            .map_err(|_| {
                Failure::new(
                    FailureKind::SubscriptionTimeout,
                    format!(
                        "no answer within subscription_timeout ({:?})",
                        deadlines.subscription_timeout
                    ),
                )
            })?;
        let response = response.map_err(|error| Failure::from_h2(&error))?;
        accept(response, send).await
    };
    tokio::select! {
        result = answered => result,
        failure = spoken => Err(failure),
    }
}

async fn accept(
    response: Response<RecvStream>,
    send: SendStream<Bytes>,
) -> Result<Exchange, Failure> {
    let (parts, recv) = response.into_parts();
    let headers = readable(&parts.headers);
    if parts.status == http::StatusCode::OK {
        return Ok(Exchange {
            send,
            recv,
            headers,
        });
    }
    let body = timeout(ERROR_BODY_TIME, collect(recv))
        .await
        .unwrap_or_default();
    Err(Failure::from_answer(Answer {
        status: parts.status.as_u16(),
        headers,
        body,
    }))
}

/// The body, as far as it comes and fits: half an explanation is better than none.
async fn collect(mut recv: RecvStream) -> Bytes {
    let mut body = BytesMut::new();
    while let Some(Ok(data)) = recv.data().await {
        let room = MAX_ERROR_BODY - body.len();
        body.extend_from_slice(&data[..data.len().min(room)]);
        if body.len() == MAX_ERROR_BODY {
            break;
        }
        if recv.flow_control().release_capacity(data.len()).is_err() {
            break;
        }
    }
    body.freeze()
}

fn readable(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect()
}
