//! A neighbour that says anything: the decider never panics, stays within its
//! limits, and asks for no time that has passed.

use proptest::prelude::*;
use weft_wire::frame::{
    Digest, DigestEntry, Interest, InterestChange, LinkState, LinkStateLink, LinkStateRecord, StreamInterest, Want,
    WantEntry,
};

use super::*;

/// A frame with few enough hubs, versions and filters that they meet.
#[derive(Clone, Debug)]
enum Said {
    Record { hub: u64, epoch: u32, version: u64, name: u8, links: Vec<u64> },
    Interest { hub: u64, epoch: u32, from: u64, to: u64, changes: Vec<(bool, u8, usize)>, more: bool },
    Digest(Vec<(u64, u32, u64, u64)>),
    Want(Vec<(u64, u64)>),
    Pong(u64),
    Ack(u64),
    LinkUp(u64, u64, u32),
    LinkDown(u64),
    Own(bool, usize),
    Pass(u64),
}

const FILTERS: [&str; 8] = ["a", "a/*", "**", "b/c", "*", "c", "d", "e/**"];

fn any_said() -> impl Strategy<Value = Said> {
    let hub = 0..8u64;
    let epoch = 0..3u32;
    let version = 0..5u64;
    let change = (any::<bool>(), 0..3u8, 0..FILTERS.len());
    prop_oneof![
        (hub.clone(), epoch.clone(), version.clone(), 0..10u8, proptest::collection::vec(hub.clone(), 0..5))
            .prop_map(|(hub, epoch, version, name, links)| Said::Record { hub, epoch, version, name, links }),
        (
            hub.clone(),
            epoch.clone(),
            version.clone(),
            version.clone(),
            proptest::collection::vec(change, 0..6),
            any::<bool>()
        )
            .prop_map(|(hub, epoch, from, to, changes, more)| {
                Said::Interest { hub, epoch, from, to, changes, more }
            }),
        proptest::collection::vec((hub.clone(), epoch.clone(), version.clone(), version.clone()), 0..6)
            .prop_map(Said::Digest),
        proptest::collection::vec((hub.clone(), version.clone()), 0..6).prop_map(Said::Want),
        (0..6u64).prop_map(Said::Pong),
        hub.clone().prop_map(Said::Ack),
        (0..5u64, hub, epoch).prop_map(|(link, hub, epoch)| Said::LinkUp(link, hub, epoch)),
        (0..5u64).prop_map(Said::LinkDown),
        (any::<bool>(), 0..FILTERS.len()).prop_map(|(add, filter)| Said::Own(add, filter)),
        prop_oneof![0..50u64, 1_000..70_000u64].prop_map(Said::Pass),
    ]
}

struct Alone {
    mesh: Mesh,
    now: Mono,
    link: u64,
}

impl Alone {
    fn event(&mut self, event: Event<'_>) {
        let mut out = Vec::new();
        self.mesh.apply(event, now(self.now), &mut out);
        for command in out {
            if let Command::Send { bytes, .. } = command {
                assert!(frames(&bytes).iter().all(Result::is_ok));
            }
        }
        let deadline = self.mesh.next_deadline();
        assert!(deadline.is_none_or(|at| at > self.now), "{deadline:?} is not after {:?}", self.now);
        let report = self.mesh.report();
        assert!(report.hubs.len() <= 4 + 1, "within the limit of hubs");
        assert!(report.hubs.iter().all(|hub| hub.live_filters <= 4 + 1 && hub.stream_filters <= 4 + 1));
        let known: Vec<HubId> = report.hubs.iter().map(|hub| hub.id).collect();
        assert!(self.mesh.routes().hubs().all(|hub| known.contains(&hub)), "no route to the forgotten");
        let others = || known.iter().filter(|hub| **hub != id(1));
        let wanted = |kind: Kind| -> usize {
            others().map(|h| self.mesh.interest_of(*h).filter(|(of, _)| *of == kind).count()).sum()
        };
        let (filters, streams) = (wanted(Kind::Live), wanted(Kind::Stream));
        let members: usize = others().map(|h| self.mesh.groups_of(*h).count()).sum();
        let routes = &self.mesh.interest;
        let routed = (routes.plain.len(), routes.groups.len(), routes.streams.len());
        assert_eq!(routed, (filters, members, streams), "the routes know what the hubs want and nothing else");
        assert!(others().all(|hub| self.mesh.groups_of(*hub).count() <= 4), "within the limit of filters");
    }

    fn frame(&mut self, frame: &Frame<'_>) {
        self.event(Event::Frame { link: LinkId(self.link), frame });
    }

    fn say(&mut self, said: &Said) {
        match said {
            Said::Record { hub, epoch, version, name, links } => {
                let links = links.iter().map(|peer| LinkStateLink { peer: id(*peer), rtt_us: 1, cost: 0 }).collect();
                // Now and then another name.
                let name = if *name == 0 { "strange".to_owned() } else { format!("hub-{hub}") };
                let (hub, epoch, version) = (id(*hub), Epoch(*epoch), *version);
                let record = LinkStateRecord { hub, epoch, version, name: &name, region: "", links };
                self.frame(&Frame::LinkState(LinkState { record }));
            }
            Said::Interest { hub, epoch, from, to, changes, more } => {
                let changes = changes.iter().map(|(add, kind, filter)| {
                    let (group, weight) = if *kind == 2 { ("group", 1 + *filter as u32 % 2) } else { ("", 0) };
                    let kind = Kind::from_number(*kind).expect("a kind");
                    let stream = match kind {
                        Kind::Stream => {
                            let name = if filter % 2 == 0 { "s" } else { "t" };
                            StreamInterest {
                                name,
                                id: 1 + *filter as u64 % 3,
                                role: *filter as u8 % 2,
                                ..StreamInterest::default()
                            }
                        }
                        Kind::Live | Kind::Group => StreamInterest::default(),
                    };
                    InterestChange { add: *add, kind, filter: FILTERS[*filter], group, weight, stream }
                });
                self.frame(&Frame::Interest(Interest {
                    hub: id(*hub),
                    epoch: Epoch(*epoch),
                    from_version: *from,
                    to_version: *to,
                    changes: changes.collect(),
                    more: *more,
                }));
            }
            Said::Digest(entries) => {
                let entries = entries.iter().map(|(hub, epoch, link_version, interest_version)| DigestEntry {
                    hub: id(*hub),
                    epoch: Epoch(*epoch),
                    link_version: *link_version,
                    interest_version: *interest_version,
                    interest_hash: 7,
                });
                self.frame(&Frame::Digest(Digest { entries: entries.collect() }));
            }
            Said::Want(entries) => {
                let entries = entries.iter().map(|(hub, have)| WantEntry {
                    hub: id(*hub),
                    have_link_version: *have,
                    have_interest_version: *have,
                });
                self.frame(&Frame::Want(Want { entries: entries.collect() }));
            }
            Said::Pong(number) => self.frame(&Frame::Pong(Pong { id: *number, time: 0 })),
            Said::Ack(to) => self.frame(&Frame::FlowAck(FlowAck {
                to: id(*to),
                from: id(2),
                to_epoch: Epoch(1),
                lane: Lane::DEFAULT,
                incarnation: 0,
                written: 1,
                synced: 1,
                refused: ErrorCode::NONE,
                places: Vec::new(),
            })),
            Said::LinkUp(link, hub, epoch) => {
                self.link = *link;
                // One link of a name at a time, as the transport gives it.
                self.event(Event::LinkDown { link: LinkId(*link) });
                self.event(Event::LinkUp {
                    link: LinkId(*link),
                    hub: id(*hub),
                    epoch: Epoch(*epoch),
                    name: format!("hub-{hub}"),
                    region: String::new(),
                    version: 1 + (*link % 2) as u16,
                    cost: 0,
                });
            }
            Said::LinkDown(link) => self.event(Event::LinkDown { link: LinkId(*link) }),
            Said::Own(add, number) => {
                let filter = filter(FILTERS[*number]);
                self.event(Event::Interest { add: *add, filter });
            }
            Said::Pass(ms) => {
                let until = self.now + Duration::from_millis(*ms);
                while let Some(at) = self.mesh.next_deadline().filter(|at| *at <= until) {
                    self.now = at;
                    self.event(Event::Tick);
                }
                self.now = until;
                self.event(Event::Tick);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_that_a_neighbour_says_breaks_the_decider(said in proptest::collection::vec(any_said(), 1..80)) {
        let limits = Limits { hubs: 4, links: 3, filters: 4 };
        let options = MeshOptions { limits, ..MeshOptions::default() };
        let mesh = Mesh::new(options, info(1, 1), 9);
        let mut alone = Alone { mesh, now: Mono(5_000_000_000), link: 0 };
        for said in &said {
            alone.say(said);
        }
    }
}
