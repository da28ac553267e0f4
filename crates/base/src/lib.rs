//! Layer 0: what every other crate may use, and what could have been in std.
//!
//! Nothing here knows of events, blocks, hubs' behaviour or I/O. Time and
//! randomness are traits or seeded values, so that a whole mesh can run in one
//! thread from one seed; the only readings of the machine's clock and entropy
//! in layers 0 to 3 are [`clock::SystemClock`] and [`random::Random::from_entropy`].
#![forbid(unsafe_code)]

pub mod bounded;
pub mod buckets;
pub mod checksum;
pub mod clock;
pub mod ids;
pub mod random;
pub mod sync;
pub mod units;

pub use clock::{Clock, Instants, ManualClock, Mono, Now, SystemClock, UnixNanos};
pub use ids::{Epoch, HubId, Lane, ProducerId, Residency, StreamId, SubscriptionId, TenantId, Way};
pub use random::Random;
pub use units::ByteCount;
