//! Every reason why a leg does not open or ends, with its verdict: one table.
//!
//! Code that sees a failure names it with a [`Reason`]. Only [`verdict`] decides whether to retry,
//! and only [`whose`] whether another endpoint is tried. The words for people are in Python's table,
//! by name.

use std::fmt;

/// Whether to retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not at all: the result would be the same.
    Never,
    /// At most [`RETRY_FEW`] times without progress: it is probably permanent.
    Few,
    /// As often as the settings allow.
    Often,
}

/// Retries without progress of a failure that is probably permanent.
pub const RETRY_FEW: u32 = 3;

impl Verdict {
    /// Returns how many retries there are without progress; `None`: as many as the settings allow.
    #[must_use]
    pub const fn limit(self) -> Option<u32> {
        match self {
            Self::Never => Some(0),
            Self::Few => Some(RETRY_FEW),
            Self::Often => None,
        }
    }

    /// Returns its stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Few => "few",
            Self::Often => "often",
        }
    }
}

/// Whose failure it is: what another endpoint can do about it.
///
/// What may differ from one endpoint to the next is the endpoint's: its settings (host, proxy,
/// trusted authorities, signing region, variant), its permissions, and its containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The application's or this machine's: it would be the same at every endpoint.
    Everywhere,
    /// The keys': it would be the same at every endpoint that is called with them.
    Keys,
    /// The endpoint's, or that of the way to it. Every session avoids it for a while.
    Endpoint,
    /// The endpoint works, and asks for less. Every session avoids it for a short while.
    Load,
    /// One leg's. Its session tries another endpoint. Others have no reason to avoid this one: one
    /// stream breaks now and then, and the container may have refused what this session asks for.
    Leg,
}

impl Whose {
    /// Returns its stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Everywhere => "everywhere",
            Self::Keys => "keys",
            Self::Endpoint => "endpoint",
            Self::Load => "load",
            Self::Leg => "leg",
        }
    }
}

macro_rules! reasons {
    ($($name:ident $text:literal $verdict:ident $whose:ident: $doc:literal,)*) => {
        /// Why a leg did not open, or ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $doc] $name,)*
        }

        /// Returns whether a failure for this reason is retried.
        #[must_use]
        pub const fn verdict(reason: Reason) -> Verdict {
            match reason {
                $(Reason::$name => Verdict::$verdict,)*
            }
        }

        /// Returns whose failure this is.
        #[must_use]
        pub const fn whose(reason: Reason) -> Whose {
            match reason {
                $(Reason::$name => Whose::$whose,)*
            }
        }

        impl Reason {
            /// All reasons.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns its stable name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    // Connecting.
    Dns "dns" Often Endpoint: "The host's name did not resolve.",
    Connect "connect" Often Endpoint: "TCP was refused, or the host is unreachable.",
    HandshakeCut "handshake_cut" Often Endpoint: "The connection was closed before TLS was agreed.",
    ConnectTimeout "connect_timeout" Often Endpoint: "TCP, TLS and HTTP/2 took too long.",
    ProxyUnreachable "proxy_unreachable" Often Endpoint: "The proxy's name, or the proxy, was not reached.",
    ProxyTimeout "proxy_timeout" Often Endpoint: "The proxy was reached, and did not connect in time.",
    ProxyFailed "proxy_failed" Often Endpoint: "The proxy did not reach the service, or failed itself.",
    ProxyWantsPassword "proxy_wants_password" Never Endpoint: "The proxy requires a user and a password, and got none.",
    ProxyPassword "proxy_password" Never Endpoint: "The proxy did not accept the user and password.",
    ProxyDenied "proxy_denied" Never Endpoint: "The proxy forbids this connection.",
    ProxyRefused "proxy_refused" Never Endpoint: "The proxy refuses this connection to every client.",
    ProxyNonsense "proxy_nonsense" Few Endpoint: "The proxy does not answer in HTTP.",
    ProxyCertificate "proxy_certificate" Never Endpoint: "The proxy's own certificate was not accepted.",
    ProxyTls "proxy_tls" Few Endpoint: "No TLS with the proxy itself.",
    TlsIssuer "tls_issuer" Never Endpoint: "The system does not trust the certificate's authority.",
    TlsIssuerOfBundle "tls_issuer_of_bundle" Never Endpoint: "The certificate's authority is not in the bundle.",
    TlsOwnAuthority "tls_own_authority" Never Endpoint: "The server's certificate is an authority's.",
    TlsExpired "tls_expired" Never Endpoint: "The certificate is not valid now.",
    TlsName "tls_name" Never Endpoint: "The certificate is for another host.",
    TlsCertificate "tls_certificate" Never Endpoint: "The certificate is invalid in another way.",
    TlsRefused "tls_refused" Never Endpoint: "The two sides have no TLS in common, or the server wants a certificate.",
    WeakTls "weak_tls" Never Endpoint: "HTTP/2's `INADEQUATE_SECURITY`.",
    NotTls "not_tls" Few Endpoint: "The answer was not TLS.",
    Tls "tls" Few Endpoint: "The handshake failed otherwise.",
    Trust "trust" Never Endpoint: "The trusted certificates cannot be read.",
    NoHttp2 "no_http2" Never Endpoint: "The peer does not offer HTTP/2.",
    Http11Required "http_1_1_required" Never Endpoint: "The peer requires HTTP/1.1.",

    // Timeouts.
    AcquireTimeout "acquire_timeout" Often Leg: "No stream became free in time.",
    SubscriptionTimeout "subscription_timeout" Often Endpoint: "The service did not answer the request in time.",
    Stalled "stalled" Often Leg: "The service said nothing while it owed an answer.",

    CloseTimedOut "close_timeout" Never Everywhere: "The application closed, and the service did not answer everything in time.",

    // Load.
    Throttled "throttled" Often Load: "Too many requests.",
    Calm "calm" Often Load: "HTTP/2's `ENHANCE_YOUR_CALM`.",
    NotReady "not_ready" Often Endpoint: "The model is still loading.",
    NotInService "not_in_service" Often Endpoint: "The endpoint is not in service.",
    RequestTimeout "request_timeout" Often Leg: "The service waited too long for the request.",
    ServiceFailed "service_failed" Often Endpoint: "The service failed or has no capacity.",
    StreamFailed "stream_failed" Often Leg: "`InternalStreamFailure`.",

    // Credentials.
    NoCredentials "no_credentials" Never Keys: "There are no credentials.",
    CredentialsUnavailable "credentials_unavailable" Often Keys: "The source of the credentials could not be reached.",
    KeysExpired "keys_expired" Never Keys: "The keys expired. Fresh ones are looked up once.",
    RequestExpired "request_expired" Never Keys: "The request counts as expired, because of the keys or the clock.",
    ClockSkew "clock_skew" Never Everywhere: "The request counts as signed at another time.",
    WrongRegion "wrong_region" Never Endpoint: "The request was signed for another region.",
    BadSignature "bad_signature" Never Keys: "The signature was not accepted.",
    UnknownKey "unknown_key" Never Keys: "The access key is not known.",
    Unsigned "unsigned" Never Endpoint: "The request arrived without a signature.",
    Unauthorized "unauthorized" Never Endpoint: "401 without an explanation.",
    AccessDenied "access_denied" Never Endpoint: "The caller may not do this.",
    EncryptionKey "encryption_key" Never Endpoint: "The endpoint's encryption key cannot be used.",

    // The request.
    NoEndpoint "no_endpoint" Never Endpoint: "There is no such endpoint.",
    InvalidRequest "invalid_request" Never Everywhere: "The service refuses the request as invalid.",
    InvalidEvent "invalid_event" Never Everywhere: "The service refuses an event of the stream as invalid.",
    RequestRefused "request_refused" Never Endpoint: "Another status from 400 to 499.",
    NotSageMaker "not_sagemaker" Never Endpoint: "The answer is not SageMaker's.",
    Setting "setting" Never Endpoint: "A setting breaks a rule.",

    // The container.
    ContainerUnavailable "container_unavailable" Few Load: "It is full or refuses the query; the service does not say which.",
    ContainerRefused "container_refused" Few Leg: "It refused the stream.",
    ContainerPolicy "container_policy" Never Everywhere: "It closed with 1008.",
    BadAudio "bad_audio" Never Everywhere: "It cannot read the audio: DATA-….",
    SilentApplication "silent_application" Never Everywhere: "NET-0001, and the application was silent.",
    NothingHeard "nothing_heard" Few Leg: "NET-0001, although audio was sent.",
    ContainerDone "container_done" Often Leg: "It closed with 1000 before everything was answered.",
    ContainerClosed "container_closed" Few Leg: "It closed with another code.",

    // Ends of streams and connections.
    EarlyEnd "early_end" Often Leg: "The stream ended in order before everything was answered.",
    Unanswered "unanswered" Often Leg: "The stream ended in order without an answer to the closing message.",
    UnknownException "unknown_exception" Few Leg: "An exception that this version does not know.",
    Refused "refused_stream" Often Load: "`REFUSED_STREAM` for an answer.",
    Reset "reset" Often Leg: "`RST_STREAM`.",
    PeerConfused "peer_confused" Few Leg: "The HTTP/2 codes for a broken protocol.",
    GoAway "goaway" Often Leg: "The service closed the connection with the stream on it.",
    Dropped "dropped" Often Leg: "The connection broke.",
    Protocol "protocol" Few Leg: "The service broke the protocol.",
    Closed "closed" Never Everywhere: "Closed from this side.",
    Unknown "unknown" Few Leg: "Anything else.",
}

impl Reason {
    /// Returns the reason of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.as_str() == name)
    }

    /// Returns the reason that the HTTP/2 code of a `RST_STREAM` or GOAWAY stands for; `otherwise`
    /// for codes without a meaning of their own.
    #[must_use]
    pub const fn of_h2(code: Option<u32>, otherwise: Self) -> Self {
        match code {
            // Protocol, flow control, frame size, compression.
            Some(1 | 3 | 6 | 9) => Self::PeerConfused,
            Some(11) => Self::Calm,
            Some(12) => Self::WeakTls,
            Some(13) => Self::Http11Required,
            Some(_) | None => otherwise,
        }
    }

    /// Returns whether the keys ran out. Fresh ones are then looked up once.
    #[must_use]
    pub const fn is_expiry(self) -> bool {
        matches!(self, Self::KeysExpired | Self::RequestExpired)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_back() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_name(reason.as_str()), Some(*reason));
            assert!(
                reason
                    .as_str()
                    .bytes()
                    .all(|each| each.is_ascii_lowercase() || each.is_ascii_digit() || each == b'_')
            );
        }
        assert_eq!(Reason::from_name("x"), None);
    }

    /// Rules that hold for the whole column.
    #[test]
    fn the_columns_of_the_table_agree() {
        for reason in Reason::ALL {
            let (verdict, whose) = (verdict(*reason), whose(*reason));
            match whose {
                // A session that goes on elsewhere at once must not be one that nothing can help.
                Whose::Everywhere => assert_eq!(verdict, Verdict::Never, "{reason}"),
                // Otherwise an endpoint that never takes this leg would be tried again and again.
                Whose::Leg | Whose::Load => assert_ne!(verdict, Verdict::Never, "{reason}"),
                Whose::Keys | Whose::Endpoint => {}
            }
            assert!(!reason.is_expiry() || whose == Whose::Keys, "{reason}");
        }
    }

    #[test]
    fn whose_failure_it_is() {
        use Reason as R;
        for (expected, reasons) in [
            (
                Whose::Everywhere,
                &[R::BadAudio, R::InvalidRequest, R::ClockSkew][..],
            ),
            (Whose::Keys, &[R::NoCredentials, R::UnknownKey]),
            (
                Whose::Endpoint,
                &[
                    R::Dns,
                    R::Connect,
                    R::ConnectTimeout,
                    R::SubscriptionTimeout,
                    R::TlsIssuer,
                    R::ServiceFailed,
                    R::NotInService,
                    R::NoEndpoint,
                    R::AccessDenied,
                    R::WrongRegion,
                ],
            ),
            (Whose::Load, &[R::Throttled, R::ContainerUnavailable]),
            (
                Whose::Leg,
                &[R::Reset, R::Dropped, R::Stalled, R::AcquireTimeout],
            ),
        ] {
            for reason in reasons {
                assert_eq!(whose(*reason), expected, "{reason}");
            }
        }
    }
}
