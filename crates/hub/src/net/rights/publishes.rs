//! What a session may publish: the answers that it has, by topic, lane and action.
//!
//! On the path of a block: finding an answer allocates nothing and takes no lock.
//! The last topic is compared first, then a hash is looked up, seeded so that
//! nobody can choose topics that meet. Bounded: at [`MOST`] topics all are
//! forgotten, and asked about again.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use weft_base::Lane;
use weft_govern::access::{Action, Ask, Verdict};
use weft_wire::block::Block;
use weft_wire::block::layout::REQUEST;
use weft_wire::reply::is_reserved;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Need;

/// Topics of a session whose answers are remembered.
pub(super) const MOST: usize = 1_024;

/// The hash is the key's own.
#[derive(Default)]
pub(in crate::net) struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

/// The answer for one topic, as the client names it.
struct Entry {
    topic: Box<str>,
    lane: Lane,
    action: Action,
    allowed: bool,
    /// For each topic that it may become.
    needs: Box<[Need]>,
}

/// What is known of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Allowed,
    /// By the answer at this place.
    Denied(usize),
    /// It is to be asked about.
    No,
    /// A reply: what the session answers decides.
    Reply,
    /// No rule can be about it: it is refused whatever the rules say.
    NoMatter,
}

/// The answers.
#[derive(Default)]
pub(super) struct Publishes {
    entries: Vec<Entry>,
    by_hash: HashMap<u64, u32, BuildHasherDefault<Same>>,
    last: usize,
    seed: u64,
    /// Of which set of mapping rules they are.
    epoch: u64,
}

/// What is asked for a publish of this block.
pub(super) fn action_of(block: &Block<'_>) -> Action {
    if block.flags() & REQUEST != 0 { Action::Request } else { Action::Publish }
}

impl Publishes {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    fn hash(&self, topic: &str, lane: Lane, action: Action) -> u64 {
        xxh3_64_with_seed(topic.as_bytes(), self.seed ^ (lane.index() as u64) << 8 ^ action as u64)
    }

    /// What is known of a block that was not checked yet.
    #[inline]
    pub(super) fn find(&mut self, epoch: u64, block: &[u8]) -> Known {
        let block = Block::trusted(block);
        let (topic, lane, action) = (block.topic(), block.lane(), action_of(&block));
        if topic.is_empty() {
            return Known::NoMatter;
        }
        if is_reserved(topic) {
            return if topic.starts_with("_reply/") { Known::Reply } else { Known::NoMatter };
        }
        if epoch != self.epoch {
            return Known::No;
        }
        let is_it = |entry: &Entry| *entry.topic == *topic && entry.lane == lane && entry.action == action;
        let known = |at: usize, entry: &Entry| if entry.allowed { Known::Allowed } else { Known::Denied(at) };
        if let Some(entry) = self.entries.get(self.last).filter(|entry| is_it(entry)) {
            return known(self.last, entry);
        }
        let Some(at) = self.by_hash.get(&self.hash(topic, lane, action)).map(|at| *at as usize) else {
            return Known::No;
        };
        match self.entries.get(at).filter(|entry| is_it(entry)) {
            Some(entry) => {
                let found = known(at, entry);
                self.last = at;
                found
            }
            None => Known::No,
        }
    }

    /// Takes the answers for a topic in. Answers the questions whose answers are
    /// not used any more.
    pub(super) fn insert(
        &mut self,
        epoch: u64,
        (topic, lane, action): (&str, Lane, Action),
        needs: Vec<Need>,
    ) -> Vec<Arc<Ask>> {
        let mut gone = Vec::new();
        if epoch != self.epoch || self.entries.len() >= MOST {
            gone = self.clear();
            self.epoch = epoch;
        }
        let hash = self.hash(topic, lane, action);
        let entry = Entry {
            topic: topic.into(),
            lane,
            action,
            allowed: needs.iter().all(Need::is_allowed),
            needs: needs.into(),
        };
        match self.by_hash.get(&hash).map(|at| *at as usize) {
            Some(at) => {
                // It was there, or is another of the same hash.
                if let Some(known) = self.entries.get_mut(at) {
                    gone.extend(std::mem::replace(known, entry).needs.iter().map(|need| need.ask.clone()));
                }
                self.last = at;
            }
            None => {
                self.last = self.entries.len();
                self.by_hash.insert(hash, self.last as u32);
                self.entries.push(entry);
            }
        }
        gone
    }

    /// Forgets all. Answers the questions.
    fn clear(&mut self) -> Vec<Arc<Ask>> {
        self.by_hash.clear();
        self.last = 0;
        let entries = self.entries.drain(..);
        entries.flat_map(|entry| entry.needs.into_vec()).map(|need| need.ask).collect()
    }

    /// An answer has become another one.
    pub(super) fn turned(&mut self, ask: &Arc<Ask>, verdict: &Arc<Verdict>) {
        for entry in &mut self.entries {
            let mut is_of = false;
            for need in &mut entry.needs {
                is_of |= need.take(ask, verdict);
            }
            if is_of {
                entry.allowed = entry.needs.iter().all(Need::is_allowed);
            }
        }
    }

    /// The topic that an answer is for, and what is refused of it.
    pub(super) fn refused(&self, at: usize) -> Option<(&str, &Need)> {
        let entry = self.entries.get(at)?;
        entry.needs.iter().find(|need| !need.is_allowed()).map(|need| (&*entry.topic, need))
    }
}

#[cfg(test)]
mod tests {
    use weft_govern::access::{Method, Principal, Resource};
    use weft_topic::Filter;
    use weft_wire::block::{BlockFields, BlockWriter, EventFields};

    use super::*;

    fn block(topic: &str, lane: Lane, flags: u32) -> Vec<u64> {
        let mut words = vec![0u64; 128];
        let bytes: &mut [u8] = zerocopy::IntoBytes::as_mut_bytes(words.as_mut_slice());
        let fields = BlockFields { lane, flags, ..BlockFields::new(topic) };
        let mut writer = BlockWriter::new(bytes, &fields).expect("the topic fits");
        let event = EventFields { time: weft_base::UnixNanos(1), key: &[], headers: &[], payload: b"x" };
        writer.push(&event).expect("it has room");
        writer.finish().expect("there is an event");
        words
    }

    fn need(topic: &str, allowed: bool) -> Need {
        let principal = Principal { tenant: None, name: "a".into(), roles: [].into(), method: Method::Anonymous };
        let resource = Resource::Topic(Filter::parse(topic).expect("a topic"));
        let ask = Ask { principal: Arc::new(principal), action: Action::Publish, resource, lane: None };
        let verdict = Verdict { allowed, version: 1, until: None, rules: [].into(), reason: "".into() };
        Need { ask: Arc::new(ask), verdict: Some(Arc::new(verdict)), required: true }
    }

    fn find(publishes: &mut Publishes, epoch: u64, topic: &str, lane: Lane, flags: u32) -> Known {
        publishes.find(epoch, zerocopy::IntoBytes::as_bytes(block(topic, lane, flags).as_slice()))
    }

    #[test]
    fn an_answer_is_for_its_topic_lane_action_and_mapping_and_all_are_forgotten_at_the_bound() {
        let mut publishes = Publishes::new(7);
        let (lane, publish) = (Lane::DEFAULT, Action::Publish);
        assert!(publishes.insert(1, ("t/a", lane, publish), vec![need("t/a", true)]).is_empty());
        assert!(publishes.insert(1, ("t/b", lane, publish), vec![need("t/b", true), need("u", false)]).is_empty());
        assert_eq!(find(&mut publishes, 1, "t/a", lane, 0), Known::Allowed);
        assert_eq!(find(&mut publishes, 1, "t/b", lane, 0), Known::Denied(1), "all that it may become");
        assert_eq!(
            publishes.refused(1).map(|(topic, need)| (topic, need.ask.resource.to_string())),
            Some(("t/b", "topic `u`".to_owned()))
        );
        for (epoch, topic, lane, flags) in
            [(2, "t/a", lane, 0), (1, "t/a", Lane::BULK, 0), (1, "t/a", lane, REQUEST), (1, "t/c", lane, 0)]
        {
            assert_eq!(find(&mut publishes, epoch, topic, lane, flags), Known::No, "{epoch} {topic}");
        }
        assert_eq!(find(&mut publishes, 1, "_reply/1/2/3", lane, 0), Known::Reply);
        assert_eq!(find(&mut publishes, 1, "_other/1", lane, 0), Known::NoMatter);
        assert_eq!(publishes.find(1, &[1, 2, 3]), Known::NoMatter, "no block at all");
        let turned = need("u", true);
        publishes.turned(&turned.ask, turned.verdict.as_ref().expect("an answer"));
        assert_eq!(find(&mut publishes, 1, "t/b", lane, 0), Known::Allowed);
        for n in publishes.entries.len()..MOST {
            let topic = format!("n/{n}");
            assert!(publishes.insert(1, (&topic, lane, publish), vec![need(&topic, true)]).is_empty());
        }
        let gone = publishes.insert(1, ("t/z", lane, publish), vec![need("t/z", true)]);
        assert_eq!(gone.len(), MOST + 1, "each question is given back");
        assert_eq!(publishes.entries.len(), 1);
        assert_eq!(find(&mut publishes, 1, "t/a", lane, 0), Known::No);
        assert_eq!(find(&mut publishes, 1, "t/z", lane, 0), Known::Allowed);
        let again = publishes.insert(1, ("t/z", lane, publish), vec![need("t/z", false)]);
        assert_eq!((again.len(), publishes.entries.len()), (1, 1), "in its place");
    }

    #[test]
    #[ignore = "a measurement: cargo test --release --package weft-hub --lib -- --ignored --nocapture known_answer"]
    fn what_a_known_answer_costs() {
        const ROUNDS: usize = 2_000_000;
        for topics in [1, 16, 1_024] {
            let mut publishes = Publishes::new(7);
            let names: Vec<String> = (0..topics).map(|n| format!("flights/departed/JFK/{n}/B6")).collect();
            for name in &names {
                publishes.insert(1, (name, Lane::DEFAULT, Action::Publish), vec![need(name, true)]);
            }
            let blocks: Vec<Vec<u64>> = names.iter().map(|name| block(name, Lane::DEFAULT, 0)).collect();
            let begun = std::time::Instant::now();
            let mut allowed = 0;
            for block in blocks.iter().cycle().take(ROUNDS) {
                let block = std::hint::black_box(zerocopy::IntoBytes::as_bytes(block.as_slice()));
                allowed += usize::from(publishes.find(1, block) == Known::Allowed);
            }
            println!("{topics} topics in turn: {:.1} ns", begun.elapsed().as_secs_f64() * 1e9 / ROUNDS as f64);
            assert_eq!(allowed, ROUNDS);
        }
    }
}
