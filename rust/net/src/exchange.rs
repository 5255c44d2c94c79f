//! One request, up to its response headers.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::connection::{Connection, Line};
use crate::failure::{Answer, Failure, FailureKind};

/// The part of an error's body that is kept, in bytes.
pub const MAX_ERROR_BODY: usize = 64 << 10;
/// How long an error's body may take. The status is worth more than the body's last byte.
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
    /// What is known of the connection.
    pub line: Arc<Line>,
}

/// How long a request may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// The time by which the peer must have sent something in HTTP/2.
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
    connection: &Connection,
    request: Request<()>,
    deadlines: Deadlines,
) -> Result<Exchange, Failure> {
    let line = connection.line();
    let unheard = async {
        tokio::select! {
            biased;
            () = line.heard() => std::future::pending().await,
            () = sleep_until(deadlines.heard_by) => Failure::new(
                FailureKind::ConnectTimeout,
                format!(
                    "no HTTP/2 from the peer within connection_timeout ({:?})",
                    deadlines.connection_timeout
                ),
            ),
        }
    };
    let unanswered = async {
        sleep(deadlines.subscription_timeout).await;
        // Until the peer has sent something the connection is late, not the answer.
        line.heard().await;
        Failure::new(
            FailureKind::SubscriptionTimeout,
            format!(
                "no answer within subscription_timeout ({:?})",
                deadlines.subscription_timeout
            ),
        )
    };
    let answered = async {
        let mut requests = connection.requests().ready().await?;
        let (response, send) = requests.send_request(request, false)?;
        drop(requests);
        Ok::<_, h2::Error>((response.await?, send))
    };
    let answer = tokio::select! {
        biased;
        answer = answered => answer,
        failure = unheard => return Err(failure),
        failure = unanswered => return Err(failure),
    };
    match answer {
        Ok((response, send)) => accept(response, send, line).await,
        Err(error) => Err(line.explain(Failure::from_h2(&error))),
    }
}

async fn accept(
    response: Response<RecvStream>,
    send: SendStream<Bytes>,
    line: &Arc<Line>,
) -> Result<Exchange, Failure> {
    let (parts, recv) = response.into_parts();
    let headers = readable(&parts.headers);
    if parts.status == http::StatusCode::OK {
        return Ok(Exchange {
            send,
            recv,
            headers,
            line: Arc::clone(line),
        });
    }
    let mut body = BytesMut::new();
    // As much as fits and comes in time: half an explanation is better than none.
    let _ = timeout(ERROR_BODY_TIME, collect(recv, &mut body)).await;
    Err(Failure::from_answer(Answer {
        status: parts.status.as_u16(),
        headers,
        body: body.freeze(),
    }))
}

async fn collect(mut recv: RecvStream, body: &mut BytesMut) {
    while let Some(Ok(data)) = recv.data().await {
        let room = MAX_ERROR_BODY - body.len();
        body.extend_from_slice(&data[..data.len().min(room)]);
        if body.len() == MAX_ERROR_BODY || recv.flow_control().release_capacity(data.len()).is_err()
        {
            break;
        }
    }
}

fn readable(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect()
}
