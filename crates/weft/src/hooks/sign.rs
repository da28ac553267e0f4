//! Signatures of bodies, as Standard Webhooks has them (version 1, `v1,` with
//! HMAC-SHA256 in base64 of `ID.TIMESTAMP.BODY`). Must never show a secret.

use anyhow::Context;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// What a secret begins with that is written as the specification says.
const PREFIX: &str = "whsec_";
/// How many bytes a secret has, at least and at most.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The key of a target.
pub(super) struct Signer(hmac::Key);

impl Signer {
    /// By a secret as it stands in a file: `whsec_` and base64.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn of(text: &str) -> anyhow::Result<Self> {
        let encoded = text.trim().strip_prefix(PREFIX).context("a secret is `whsec_` and base64")?;
        // What was wrong with it is not said: it would be in a log.
        let Ok(secret) = STANDARD.decode(encoded).map(Zeroizing::new) else {
            anyhow::bail!("behind `whsec_` there is no base64");
        };
        let (least, most) = (BYTES.start(), BYTES.end());
        anyhow::ensure!(BYTES.contains(&secret.len()), "a secret has {least} to {most} bytes, in base64");
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &secret)))
    }

    /// The value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let mut signing = hmac::Context::with_key(&self.0);
        signing.update(format!("{id}.{seconds}.").as_bytes());
        signing.update(body);
        format!("v1,{}", STANDARD.encode(signing.sign().as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_signed_as_in_the_specification_and_what_is_no_secret_is_refused() {
        // The example of Standard Webhooks' own libraries.
        let signer = Signer::of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").expect("a secret");
        let signature = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        for bad in ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!!", "whsec_AAAA"] {
            assert!(Signer::of(bad).is_err(), "{bad}");
        }
        let error = Signer::of("whsec_c2VjcmV0").err().map(|error| format!("{error:#}")).expect("it is short");
        assert!(!error.contains("c2VjcmV0"), "{error}");
    }
}
