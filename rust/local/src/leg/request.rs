//! A request: checked, recorded, and refused or opened.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;

use super::opening::{Opening, refuse};
use crate::checks;
use crate::handle::Connection;
use crate::shared::Shared;
use crate::stats::{LegEnd, LegFacts, count};

/// The headers that the record keeps. None is secret.
const KEPT_HEADERS: [&str; 6] = [
    "user-agent",
    "content-type",
    "accept",
    "x-amzn-sagemaker-target-variant",
    "amz-sdk-request",
    "via",
];

/// Serves one request of `connection`.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let (parts, body) = request.into_parts();
    let request_id = shared.uuid();
    let credentials = shared.credentials();
    // Nothing is recorded of a request without a valid signature: anybody can send those.
    let (name, signature) = match checks::identify(&parts, &shared.settings, &credentials, now_ms())
    {
        Ok(identified) => identified,
        Err(refusal) => {
            if refusal.status == 403 {
                count(&shared.counters.request_signature_failures);
            }
            refuse(&shared, &mut respond, refusal, &request_id);
            return;
        }
    };
    let (path, query) = checks::target(&parts);
    let kept = |name: &&str| {
        Some((
            (*name).to_owned(),
            parts.headers.get(*name)?.to_str().ok()?.to_owned(),
        ))
    };
    let (number, record) = shared.record(LegFacts {
        connection: connection.number,
        opened: shared.epoch.elapsed(),
        path: path.to_owned(),
        query: query.to_owned(),
        access_key_id: signature.access_key.clone(),
        headers: KEPT_HEADERS.iter().filter_map(kept).collect(),
        ..LegFacts::default()
    });
    let checked = checks::check(&parts, name, signature, &shared.settings, &credentials);
    let end = match checked {
        Err(refusal) => {
            record.facts().status = refusal.status;
            refuse(&shared, &mut respond, refusal, &request_id);
            LegEnd::Refused
        }
        Ok(invocation) => {
            Opening::new(&shared, number, invocation)
                .run(&shared, &connection, &record, body, respond, request_id)
                .await
        }
    };
    record.facts().end(end, shared.epoch);
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}
