//! Who signs tokens in tests: each kind of key, made anew.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) struct Signer {
    key: EncodingKey,
    public: Value,
    pub(super) algorithm: Algorithm,
    pub(super) name: &'static str,
}

impl Signer {
    pub(super) fn ed25519() -> Self {
        let pair = Ed25519KeyPair::generate().expect("a key");
        let public = json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key())});
        let pkcs8 = pair.to_pkcs8v1().expect("PKCS#8");
        Self { key: EncodingKey::from_ed_der(pkcs8.as_ref()), public, algorithm: Algorithm::EdDSA, name: "EdDSA" }
    }

    pub(super) fn ec(name: &'static str) -> Self {
        let (rule, curve, algorithm, len) = match name {
            "ES256" => (&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", Algorithm::ES256, 32),
            _ => (&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", Algorithm::ES384, 48),
        };
        let pair = EcdsaKeyPair::generate(rule).expect("a key");
        let (x, y) = pair.public_key().as_ref()[1..].split_at(len);
        let public = json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)});
        let pkcs8 = pair.to_pkcs8v1().expect("PKCS#8");
        Self { key: EncodingKey::from_ec_der(pkcs8.as_ref()), public, algorithm, name }
    }

    pub(super) fn rsa(name: &'static str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let parts = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
        let public = json!({"kty": "RSA", "n": encode(&parts.n), "e": encode(&parts.e)});
        let pkcs8 = pair.as_der().expect("PKCS#8");
        // What PKCS#8 has around the key of RFC 8017 is 26 bytes for this size.
        let key = EncodingKey::from_rsa_der(&pkcs8.as_ref()[26..]);
        let algorithm = crate::keys::algorithm(name).expect("known");
        Self { key, public, algorithm, name }
    }

    /// The public key under a name.
    pub(super) fn jwk(&self, kid: &str) -> Value {
        let mut jwk = self.public.clone();
        jwk["kid"] = kid.into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// A token with this header and these claims, whatever they are.
    pub(super) fn sign_text(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, self.algorithm).expect("signed");
        format!("{signed}.{signature}")
    }

    /// A token of key `kid` with these claims.
    pub(super) fn sign(&self, kid: &str, claims: &Value) -> String {
        let header = json!({"alg": self.name, "typ": "JWT", "kid": kid});
        self.sign_text(&header.to_string(), &claims.to_string())
    }
}
