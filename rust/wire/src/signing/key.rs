//! Signing keys and their scope.

use std::fmt;

use ring::hmac;

/// What a signature is valid for: one day, one region, one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    /// The UTC day, `YYYYMMDD`.
    pub date: &'a str,
    /// The AWS region.
    pub region: &'a str,
    /// The service's signing name; `sagemaker` here.
    pub service: &'a str,
}

impl fmt::Display for Scope<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}/{}/{}/aws4_request",
            self.date, self.region, self.service
        )
    }
}

/// The key derived from a secret for one [`Scope`].
#[derive(Clone)]
pub struct SigningKey(pub(super) hmac::Key);

/// The start of the derivation. It is kept instead of the secret, so that keys for later days can
/// be derived.
#[derive(Clone)]
pub(super) struct RootKey(hmac::Key);

impl RootKey {
    pub(super) fn new(secret_access_key: &str) -> Self {
        Self(key(format!("AWS4{secret_access_key}").as_bytes()))
    }

    pub(super) fn derive(&self, scope: Scope<'_>) -> SigningKey {
        let steps = [scope.date, scope.region, scope.service, "aws4_request"];
        SigningKey(steps.iter().fold(self.0.clone(), |parent, step| {
            key(hmac::sign(&parent, step.as_bytes()).as_ref())
        }))
    }
}

impl SigningKey {
    /// Derives the key of `secret_access_key` for `scope`.
    #[must_use]
    pub fn derive(secret_access_key: &str, scope: Scope<'_>) -> Self {
        RootKey::new(secret_access_key).derive(scope)
    }

    /// Returns the signature of `string_to_sign`, 32 bytes.
    #[must_use]
    pub fn sign(&self, string_to_sign: &[u8]) -> [u8; 32] {
        tag_bytes(hmac::sign(&self.0, string_to_sign))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningKey(..)")
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RootKey(..)")
    }
}

fn key(value: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, value)
}

/// Returns the tag as an array: HMAC-SHA-256 has 32 bytes.
pub(super) fn tag_bytes(tag: hmac::Tag) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

/// Compares in time that does not depend on where two signatures differ.
#[must_use]
pub fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .fold(0, |difference, (a, b)| difference | (a ^ b))
            == 0
}

#[cfg(test)]
mod tests {
    use super::super::hex;
    use super::*;

    #[test]
    fn derivation_example_of_the_aws_documentation() {
        let scope = Scope {
            date: "20150830",
            region: "us-east-1",
            service: "iam",
        };
        let key = SigningKey::derive("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", scope);
        let string_to_sign = "AWS4-HMAC-SHA256\n20150830T123600Z\n\
                              20150830/us-east-1/iam/aws4_request\n\
                              f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59";
        assert_eq!(
            hex::encode(&key.sign(string_to_sign.as_bytes())),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
        assert_eq!(scope.to_string(), "20150830/us-east-1/iam/aws4_request");
    }

    #[test]
    fn secrets_are_not_printed() {
        let scope = Scope {
            date: "20150830",
            region: "us-east-1",
            service: "iam",
        };
        assert_eq!(
            format!("{:?}", SigningKey::derive("secret", scope)),
            "SigningKey(..)"
        );
        assert_eq!(format!("{:?}", RootKey::new("secret")), "RootKey(..)");
    }

    #[test]
    fn comparison() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd"));
        assert!(!same(b"abc", b"ab"));
    }
}
