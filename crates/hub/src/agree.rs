//! What all hubs of a mesh must be told alike, and what a hub says of itself
//! when a link is made: its own [`Opening`], and the judgement of another's.
//! Pure.
//!
//! A setting belongs here when two hubs that differ in it would both be right
//! by themselves and lose, loop or misread events together. Where one is
//! missing at either side, because that side's version does not know it, it is
//! not compared: versions that follow each other work together.

use weft_mesh::Life;
use weft_pack::Codec;
use weft_wire::ErrorCode;
use weft_wire::frame::{LinkOpen, OpenItem};

use crate::options::HubOptions;

/// The settings that must be the same at every hub, each with its value in one
/// canonical form. The names are those of the configuration file.
fn settings(options: &HubOptions) -> Vec<(&'static str, String)> {
    let timers = weft_mesh::Timers::default();
    let mut settings = vec![
        // A block that one hub takes in must be one that the next one takes.
        ("limits.frame", options.limits.frame.0.to_string()),
        ("topic length", weft_wire::block::MAX_TOPIC.to_string()),
        ("topic levels", weft_topic::MAX_LEVELS.to_string()),
        // A record that is renewed more slowly than others believe in it makes its hub come and go.
        ("record refresh ms", timers.refresh.as_millis().to_string()),
        ("record age ms", timers.record_age.as_millis().to_string()),
    ];
    settings.extend(options.routing.fingerprint());
    settings
}

/// Why a hub is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) detail: String,
}

/// What a hub says of itself on each link, made once.
#[derive(Debug)]
pub(crate) struct Opening {
    mesh: String,
    settings: Vec<(&'static str, String)>,
    /// The facts as they go over the wire.
    items: Vec<(u16, Vec<u8>)>,
    /// The codecs in which blocks are taken packed.
    unpacked: Vec<Codec>,
}

impl Opening {
    pub(crate) fn of(options: &HubOptions, life: Life) -> Self {
        let settings = settings(options);
        let mut items = vec![(OpenItem::MESH, options.mesh.clone().into_bytes()), (OpenItem::LIFE, life.encode())];
        items.extend(settings.iter().map(|(name, value)| (OpenItem::SETTING, format!("{name}\0{value}").into_bytes())));
        Self { mesh: options.mesh.clone(), settings, items, unpacked: options.packings.clone() }
    }

    /// As a frame.
    pub(crate) fn frame(&self) -> LinkOpen<'_> {
        LinkOpen { items: self.items.iter().map(|(tag, value)| OpenItem { tag: *tag, value }).collect() }
    }

    /// The fact [`OpenItem::PACKING`] of a link: what this side asks for, having
    /// dialled, and what it takes.
    pub(crate) fn packing(&self, wanted: Option<Codec>) -> [u8; 2] {
        let taken = self.unpacked.iter().copied().chain(wanted).fold(0, |bits, codec| bits | 1 << codec.number());
        [wanted.map_or(0, Codec::number), taken]
    }

    /// How blocks are packed on a link, in both directions: as the side asks for
    /// that dialled, if the other takes that. `wanted` is what this side asks
    /// for; `None` if it did not dial.
    pub(crate) fn agree(&self, wanted: Option<Option<Codec>>, said: &LinkOpen<'_>) -> Option<Codec> {
        let &[theirs, taken, ..] = said.find(OpenItem::PACKING)?.value else { return None };
        match wanted {
            Some(wanted) => wanted.filter(|codec| taken & 1 << codec.number() != 0),
            None => Codec::from_number(theirs).filter(|codec| self.unpacked.contains(codec)),
        }
    }

    /// Holds what another hub says against this; answers what it says of its life.
    ///
    /// # Errors
    /// [`Refusal`]: the two must not be linked, and what is to be done about it.
    pub(crate) fn judge(&self, said: &LinkOpen<'_>) -> Result<Option<Life>, Refusal> {
        let mesh = said.find(OpenItem::MESH).and_then(OpenItem::text).unwrap_or_default();
        if mesh != self.mesh {
            let detail = format!(
                "the peer is of the mesh `{mesh}`, this hub of `{}`: correct the address, or give both the same `mesh`",
                self.mesh
            );
            return Err(Refusal { code: ErrorCode::OTHER_MESH, detail });
        }
        for (name, theirs) in said.items.iter().filter_map(OpenItem::setting) {
            if let Some((name, ours)) = self.settings.iter().find(|(own, ours)| *own == name && ours != theirs) {
                let detail = format!(
                    "`{name}` is {theirs} at the peer and {ours} at this hub: set it alike at every hub of the mesh"
                );
                return Err(Refusal { code: ErrorCode::DISAGREE, detail });
            }
        }
        Ok(said.find(OpenItem::LIFE).and_then(|item| Life::decode(item.value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_base::ByteCount;

    const LIFE: Life = Life { instance: 7, starts: 1, nonce: 2 };

    fn opening(change: impl FnOnce(&mut HubOptions)) -> Opening {
        let mut options = HubOptions::new("chicago");
        change(&mut options);
        Opening::of(&options, LIFE)
    }

    #[test]
    fn hubs_with_the_same_settings_agree_whatever_else_differs() {
        let other = opening(|o| o.limits.arena = ByteCount::mib(64));
        assert_eq!(opening(|_| {}).judge(&other.frame()), Ok(Some(LIFE)));
    }

    #[test]
    fn a_setting_that_must_be_shared_is_named_with_both_values() {
        let other = opening(|o| o.limits.frame = ByteCount::mib(2));
        let refusal = opening(|_| {}).judge(&other.frame()).expect_err("they differ");
        assert_eq!(refusal.code, ErrorCode::DISAGREE);
        for part in ["limits.frame", "2097152 at the peer", "1048576 at this hub"] {
            assert!(refusal.detail.contains(part), "{}", refusal.detail);
        }
    }

    #[test]
    fn a_hub_of_another_mesh_is_refused_by_name_before_its_settings_are_looked_at() {
        let other = opening(|o| {
            o.mesh = "freight".to_owned();
            o.limits.frame = ByteCount::mib(2);
        });
        let refusal = opening(|_| {}).judge(&other.frame()).expect_err("they differ");
        assert_eq!(refusal.code, ErrorCode::OTHER_MESH);
        assert!(refusal.detail.contains("the mesh `freight`, this hub of `weft`"), "{}", refusal.detail);
    }

    #[test]
    fn what_only_one_side_knows_is_not_compared() {
        let own = opening(|_| {});
        let mut said = own.frame();
        said.items.push(OpenItem { tag: OpenItem::SETTING, value: b"of a later version\x007" });
        said.items.push(OpenItem { tag: 60_000, value: &[0xff; 8] });
        assert_eq!(own.judge(&said), Ok(Some(LIFE)));
        said.items.retain(|item| item.tag == OpenItem::MESH);
        assert_eq!(own.judge(&said), Ok(None));
    }

    #[test]
    fn blocks_are_packed_as_the_side_asks_that_dialled_and_the_other_takes() {
        let agreed = |wanted: Option<Codec>, taken: &[Codec]| {
            let (dialling, other) = (opening(|_| {}), opening(|o| o.packings = taken.to_vec()));
            let (first, second) = (dialling.packing(wanted), other.packing(None));
            let said = |value| LinkOpen { items: vec![OpenItem { tag: OpenItem::PACKING, value }] };
            let both = (dialling.agree(Some(wanted), &said(&second)), other.agree(None, &said(&first)));
            assert_eq!(both.0, both.1, "both ends come to the same");
            both.0
        };
        let (lz4, zstd) = (Codec::Lz4, Codec::Zstd);
        assert_eq!(agreed(None, &[lz4, zstd]), None);
        assert_eq!(agreed(Some(lz4), &[lz4, zstd]), Some(lz4));
        assert_eq!(agreed(Some(zstd), &[lz4, zstd]), Some(zstd));
        assert_eq!(agreed(Some(zstd), &[lz4]), None);
        assert_eq!(agreed(Some(lz4), &[]), None);
    }

    #[test]
    fn a_peer_that_says_nothing_of_packing_or_nonsense_is_not_packed_for() {
        let own = opening(|_| {});
        assert_eq!(own.agree(Some(Some(Codec::Lz4)), &own.frame()), None, "of an earlier version");
        for value in [&[][..], &[1], &[0, 0], &[9, 0xff], &[0xff, 0, 1]] {
            let said = LinkOpen { items: vec![OpenItem { tag: OpenItem::PACKING, value }] };
            assert_eq!(own.agree(None, &said), None, "{value:?}");
        }
        let later = LinkOpen { items: vec![OpenItem { tag: OpenItem::PACKING, value: &[1, 0xff, 7, 7] }] };
        assert_eq!(own.agree(None, &later), Some(Codec::Lz4));
    }

    #[test]
    fn nonsense_is_refused_or_ignored_and_never_panics() {
        let own = opening(|_| {});
        let mut said = own.frame();
        said.items.push(OpenItem { tag: OpenItem::SETTING, value: &[0xff, 0, 0xff] });
        assert_eq!(own.judge(&said), Ok(Some(LIFE)), "no text: no setting that this hub knows");
        said.items.insert(0, OpenItem { tag: OpenItem::MESH, value: &[0xff] });
        assert_eq!(own.judge(&said).map_err(|r| r.code), Err(ErrorCode::OTHER_MESH));
    }
}
