//! What quinn-proto is told: keys, windows, times.

use std::time::{Duration, SystemTime};

use aws_lc_rs::{digest, hkdf, hmac};
use quinn_proto::congestion::{BbrConfig, ControllerFactory, NewRenoConfig};
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, EndpointConfig, HashedConnectionIdGenerator, IdleTimeout, ServerConfig, TimeSource, TransportConfig,
    ValidationTokenConfig, VarInt,
};
use weft_base::Clock;
use weft_base::sync::Arc;

use super::cubic::CubicFactory;
use super::{ALPN, CHANNELS, Congestion, MAX_WINDOW, MIN_WINDOW, QuicOptions};
use crate::identity::TlsIdentity;
use crate::network::Accept;
use crate::tls::{self, Blame};

/// How long a peer may take to come back with the token of a retry: longer
/// than it goes on asking.
const TOKEN_LIFETIME: Duration = Duration::from_secs(120);
/// Handshakes' bytes kept for a peer that is being looked at: it is taken in or
/// refused at once, so this is no queue.
const HANDSHAKE_BYTES: u64 = 64 << 10;

/// The injected clock's time of day, for tokens.
struct WallTime(Arc<dyn Clock>);

impl TimeSource for WallTime {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.0.now().wall.0)
    }
}

fn transport(options: &QuicOptions, dials: bool) -> Arc<TransportConfig> {
    let window = options.window.0.clamp(MIN_WINDOW.0, MAX_WINDOW.0);
    let bounded = |bytes: u64| VarInt::from_u64(bytes).unwrap_or(VarInt::MAX);
    let congestion: Arc<dyn ControllerFactory + Send + Sync> = match options.congestion {
        Congestion::Cubic => Arc::new(CubicFactory),
        Congestion::Bbr => Arc::new(BbrConfig::default()),
        Congestion::NewReno => Arc::new(NewRenoConfig::default()),
    };
    let mut config = TransportConfig::default();
    config
        .max_concurrent_uni_streams(VarInt::from_u32(CHANNELS as u32))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .stream_receive_window(bounded(window))
        // Channels that nobody reads take no room of the others: not that of the
        // first one, whose frames are what makes lanes be read again.
        .receive_window(bounded(window * CHANNELS as u64))
        .send_window(window * 2)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(IdleTimeout::try_from(options.idle).ok())
        .keep_alive_interval(dials.then_some(options.keep_alive).filter(|every| !every.is_zero()))
        .congestion_controller_factory(congestion);
    Arc::new(config)
}

/// What one port's state machine needs. Numbers of connections and resets are
/// drawn from the certificate's key, so that a hub that was started again knows
/// the numbers that it gave before and can tell its peers that those links are
/// no more.
pub(super) fn endpoint(identity: &TlsIdentity) -> Arc<EndpointConfig> {
    let drawn = |label: &[u8]| {
        let mut secret = digest::Context::new(&digest::SHA256);
        secret.update(label);
        // Who shows no certificate only dials: nobody keeps its numbers.
        let credentials = identity.credentials();
        secret.update(credentials.key.as_ref().map_or(&[][..], |key| key.secret_der()));
        secret.finish()
    };
    let resets = hmac::Key::new(hmac::HMAC_SHA256, drawn(b"weft quic reset").as_ref());
    let numbers =
        drawn(b"weft quic connection").as_ref().iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte));
    let mut config = EndpointConfig::new(Arc::new(resets));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(numbers)));
    Arc::new(config)
}

/// What a listener's handshakes need.
pub(super) fn server(
    options: &QuicOptions,
    identity: &TlsIdentity,
    accept: Accept,
    clock: &Arc<dyn Clock>,
    blame: Blame,
) -> Result<Arc<ServerConfig>, String> {
    let tls = server_tls(identity, accept, clock, blame)?;
    let crypto = QuicServerConfig::try_from(tls).map_err(|e| e.to_string())?;
    // Tokens are good for this listener alone, in this process alone.
    let mut secret = [0; 32];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| "the system gives no random bytes".to_owned())?;
    let tokens = hkdf::Salt::new(hkdf::HKDF_SHA256, b"weft quic token").extract(&secret);
    let mut config = ServerConfig::new(Arc::new(crypto), Arc::new(tokens));
    let mut validation = ValidationTokenConfig::default();
    validation.sent(0);
    config
        .transport_config(transport(options, false))
        .validation_token_config(validation)
        .retry_token_lifetime(TOKEN_LIFETIME)
        // Hubs stay where they are; a client's address may change as it moves
        // or as a gateway between forgets it.
        .migration(matches!(accept, Accept::Clients | Accept::AnyClients))
        .incoming_buffer_size(HANDSHAKE_BYTES)
        .incoming_buffer_size_total(HANDSHAKE_BYTES)
        .time_source(Arc::new(WallTime(clock.clone())));
    Ok(Arc::new(config))
}

/// What a dial needs.
pub(super) fn client(
    options: &QuicOptions,
    identity: &TlsIdentity,
    expect: Option<&str>,
    clock: &Arc<dyn Clock>,
    blame: Blame,
) -> Result<ClientConfig, String> {
    let tls = client_tls(identity, expect, clock, blame)?;
    let crypto = QuicClientConfig::try_from(tls).map_err(|e| e.to_string())?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport(options, true));
    Ok(config)
}

/// What a listener's handshakes need of TLS.
pub(super) fn server_tls(
    identity: &TlsIdentity,
    accept: Accept,
    clock: &Arc<dyn Clock>,
    blame: Blame,
) -> Result<rustls::ServerConfig, String> {
    let mut tls = tls::blaming_server_config(identity, accept, clock, blame)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    Ok(tls)
}

/// What a dial needs of TLS.
pub(super) fn client_tls(
    identity: &TlsIdentity,
    expect: Option<&str>,
    clock: &Arc<dyn Clock>,
    blame: Blame,
) -> Result<rustls::ClientConfig, String> {
    let mut tls = tls::client_config(identity, expect, clock, blame)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    Ok(tls)
}
