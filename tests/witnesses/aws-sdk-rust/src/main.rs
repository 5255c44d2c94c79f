//! A client of the AWS SDK for Rust against the local endpoint.
//!
//! ```sh
//! aws-sdk-rust-witness listen URI CA_FILE SESSIONS   # sessions one after the other
//! aws-sdk-rust-witness open URI CA_FILE QUERY        # one request: what the SDK makes of the answer
//! ```
//!
//! The keys come from the environment. Each session, and each answer, is one line of JSON.

use std::error::Error;
use std::time::Duration;

use aws_sdk_sagemakerruntimehttp2::Client;
use aws_sdk_sagemakerruntimehttp2::config::{
    BehaviorVersion, Config, Credentials, Region, retry::RetryConfig,
};
use aws_sdk_sagemakerruntimehttp2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sagemakerruntimehttp2::operation::invoke_endpoint_with_bidirectional_stream::{
    InvokeEndpointWithBidirectionalStreamError as OpenError,
    InvokeEndpointWithBidirectionalStreamOutput as Opened,
};
use aws_sdk_sagemakerruntimehttp2::primitives::Blob;
use aws_sdk_sagemakerruntimehttp2::types::error::RequestStreamEventError;
use aws_sdk_sagemakerruntimehttp2::types::{
    RequestPayloadPart, RequestStreamEvent, ResponseStreamEvent,
};
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

const RAW: &str = "model=nova-3&encoding=linear16&sample_rate=16000";
const PATIENCE: Duration = Duration::from_secs(30);

type Anything = Box<dyn Error>;

fn client(uri: &str, ca_file: &str) -> Result<Client, Anything> {
    let authority = TrustStore::empty().with_pem_certificate(std::fs::read(ca_file)?);
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(TlsContext::builder().with_trust_store(authority).build()?)
        .build_https();
    let keys = Credentials::new(
        std::env::var("AWS_ACCESS_KEY_ID")?,
        std::env::var("AWS_SECRET_ACCESS_KEY")?,
        None,
        None,
        "witness",
    );
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(uri)
        .credentials_provider(keys)
        .retry_config(RetryConfig::disabled())
        .http_client(http)
        .build();
    Ok(Client::from_conf(config))
}

type Events = mpsc::Receiver<Result<RequestStreamEvent, RequestStreamEventError>>;

async fn open(client: &Client, query: &str, events: Events) -> Result<Opened, SdkError<OpenError>> {
    let events = futures_util::stream::unfold(events, |mut events| async {
        events.recv().await.map(|event| (event, events))
    });
    let request = client
        .invoke_endpoint_with_bidirectional_stream()
        .endpoint_name("local")
        .model_invocation_path("v1/listen")
        .model_query_string(query)
        .body(events.into());
    let sent = tokio::time::timeout(PATIENCE, request.send()).await;
    sent.expect("the endpoint does not answer")
}

fn event(data: Vec<u8>, data_type: Option<&str>) -> RequestStreamEvent {
    let part = RequestPayloadPart::builder().bytes(Blob::new(data));
    let part = part.set_data_type(data_type.map(str::to_owned));
    RequestStreamEvent::PayloadPart(part.build())
}

/// Half a second of silence, and the goodbye; everything that was answered.
async fn session(client: &Client) -> Result<Value, Anything> {
    let (events, queue) = mpsc::channel(64);
    let mut opened = open(client, RAW, queue).await?;
    for _ in 0..25 {
        events.send(Ok(event(vec![0; 640], Some("BINARY")))).await?;
    }
    // Without a data type: control all the same.
    events.send(Ok(event(br#"{"type":"CloseStream"}"#.to_vec(), None))).await?;
    let mut messages = Vec::new();
    while let Some(said) = tokio::time::timeout(PATIENCE, opened.body.recv()).await?? {
        if let ResponseStreamEvent::PayloadPart(part) = said {
            let data = part.bytes.unwrap_or_else(|| Blob::new(Vec::new()));
            messages.push(serde_json::from_slice::<Value>(data.as_ref())?);
        }
    }
    drop(events);
    Ok(json!({"messages": messages}))
}

/// What the SDK makes of an answer: the error's type, and all that it tells.
async fn answer(client: &Client, query: &str) -> Value {
    let (_events, queue) = mpsc::channel(1);
    let error = match open(client, query, queue).await {
        Ok(_) => return json!({"type": "Opened"}),
        Err(error) => error,
    };
    let status = error.raw_response().map(|response| response.status().as_u16());
    let told = match error.into_service_error() {
        OpenError::InputValidationError(error) => {
            json!({"type": "InputValidationError", "message": error.message()})
        }
        OpenError::InternalServerError(error) => {
            json!({"type": "InternalServerError", "message": error.message()})
        }
        OpenError::ServiceUnavailableError(error) => {
            json!({"type": "ServiceUnavailableError", "message": error.message()})
        }
        OpenError::ModelError(error) => json!({
            "type": "ModelError",
            "message": error.message(),
            "original_status_code": error.original_status_code(),
            "log_stream_arn": error.log_stream_arn(),
        }),
        other => json!({"type": other.code(), "message": other.message(), "unmodelled": true}),
    };
    json!({"status": status, "error": told})
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Anything> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["listen", uri, ca_file, sessions] => {
            let client = client(uri, ca_file)?;
            for _ in 0..sessions.parse::<usize>()? {
                println!("{}", session(&client).await?);
            }
        }
        ["open", uri, ca_file, query] => {
            println!("{}", answer(&client(uri, ca_file)?, query).await);
        }
        _ => return Err("listen URI CA_FILE SESSIONS, or open URI CA_FILE QUERY".into()),
    }
    Ok(())
}
