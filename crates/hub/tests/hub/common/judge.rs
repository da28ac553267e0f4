//! A judge with a table of rules, for tests: policies of the state, each with who
//! (a name, or `*`), what, which topics, and whether that is forbidden.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_base::UnixNanos;
use weft_govern::access::{Action, Ask, Fault, Judge, Place, Resource, Verdict};
use weft_govern::{Key, Kind, State};
use weft_hub::{Environment, Governed, Hub, HubOptions};
use weft_topic::Filter;

/// A rule.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Rule {
    pub who: String,
    pub actions: Vec<String>,
    /// Of topics, and of what streams capture.
    pub topics: String,
    pub forbids: bool,
    /// Holds until then, in nanoseconds; 0 for ever.
    pub until: u64,
}

impl Rule {
    pub fn allow(who: &str, actions: &[&str], topics: &str) -> Self {
        let actions = actions.iter().map(|action| (*action).to_owned()).collect();
        Self { who: who.to_owned(), actions, topics: topics.to_owned(), ..Self::default() }
    }

    pub fn forbid(who: &str, actions: &[&str], topics: &str) -> Self {
        Self { forbids: true, ..Self::allow(who, actions, topics) }
    }

    fn is_for(&self, ask: &Ask) -> bool {
        let covers = |filter: &Filter| Filter::parse(&self.topics).is_ok_and(|topics| topics.includes(filter));
        let of = match &ask.resource {
            Resource::Topic(filter) => covers(filter),
            Resource::Stream { filters, .. } => filters.iter().all(covers),
            _ => self.topics == "**",
        };
        of && (self.who == "*" || *self.who == *ask.principal.name)
            && self.actions.iter().any(|a| a == ask.action.name())
    }
}

/// Makes whoever asks about topics below `slow/` wait; not for ever, so that a test
/// that fails ends.
#[derive(Default)]
pub struct Brake(Mutex<bool>, Condvar);

impl Brake {
    pub fn set(&self, on: bool) {
        *self.0.lock().expect("no judge panics") = on;
        self.1.notify_all();
    }

    fn wait(&self) {
        let on = self.0.lock().expect("no judge panics");
        drop(self.1.wait_timeout_while(on, Duration::from_secs(30), |on| *on).expect("no judge panics"));
    }
}

/// The judge.
#[derive(Default)]
pub struct Table {
    version: u64,
    rules: Vec<(Arc<str>, Rule)>,
    brake: Arc<Brake>,
    asked: Arc<AtomicU64>,
}

impl Judge for Table {
    fn learn(&mut self, state: &State) -> Vec<Fault> {
        self.version = state.version();
        let read = |(key, item): (&Key, &weft_govern::Item)| {
            (key.name().into(), serde_json::from_str(&item.document).expect("a rule"))
        };
        self.rules = state.of_kind(Kind::Policy).map(read).collect();
        Vec::new()
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn judge(&self, ask: &Ask, place: &Place, now: UnixNanos) -> Verdict {
        assert!(!place.hub.is_empty());
        self.asked.fetch_add(1, Ordering::Relaxed);
        if matches!(&ask.resource, Resource::Topic(filter) if filter.as_str().starts_with("slow/")) {
            self.brake.wait();
        }
        let holds = |rule: &&(Arc<str>, Rule)| rule.1.is_for(ask) && (rule.1.until == 0 || now.0 < rule.1.until);
        let found: Vec<_> = self.rules.iter().filter(holds).collect();
        let forbids = found.iter().any(|(_, rule)| rule.forbids);
        let rules = found.iter().filter(|(_, rule)| rule.forbids == forbids).map(|(name, _)| name.clone());
        let until = found.iter().filter(|(_, rule)| rule.until > 0).map(|(_, rule)| UnixNanos(rule.until)).min();
        Verdict {
            allowed: !forbids && !found.is_empty(),
            version: self.version,
            until,
            rules: rules.collect(),
            reason: "the table says so".into(),
        }
    }
}

/// A hub with such a judge, and what a test turns.
pub struct Court {
    pub hub: Hub,
    pub governed: Governed,
    pub brake: Arc<Brake>,
    pub asked: Arc<AtomicU64>,
}

/// The state with these rules in the place of those of the same name.
pub fn with(state: &State, rules: &[(&str, Option<Rule>)]) -> State {
    let key = |name: &str| Key::new(Kind::Policy, name).expect("a name");
    let document = |rule: &Rule| Arc::<str>::from(serde_json::to_string(rule).expect("it can be written"));
    let puts = rules.iter().filter_map(|(name, rule)| rule.as_ref().map(|rule| (key(name), document(rule))));
    let gone: Vec<_> = rules.iter().filter(|(_, rule)| rule.is_none()).map(|(name, _)| key(name)).collect();
    state.with(puts, &gone)
}

pub fn state(rules: &[(&str, Rule)]) -> State {
    let rules: Vec<_> = rules.iter().map(|(name, rule)| (*name, Some(rule.clone()))).collect();
    with(&State::default(), &rules)
}

impl Court {
    pub fn start(options: HubOptions, rules: &[(&str, Rule)]) -> Self {
        let table = Table::default();
        let (brake, asked) = (table.brake.clone(), table.asked.clone());
        let governed = Governed::new(Arc::new(state(rules)));
        let environment = Environment {
            judge: Some(Box::new(table)),
            governed: governed.clone(),
            ..Environment::of_machine(&options).expect("a network")
        };
        let hub = Hub::start_in(options, environment).expect("the hub starts");
        Self { hub, governed, brake, asked }
    }

    /// Puts rules in, or takes them away.
    pub fn change(&self, rules: &[(&str, Option<Rule>)]) {
        assert!(self.governed.put(Arc::new(with(&self.governed.state(), rules))));
    }

    pub fn count(&self, name: &str) -> u64 {
        let all = self.hub.counters().list();
        all.iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value)
    }
}

/// All that there is.
pub fn everything(who: &str) -> Rule {
    Rule::allow(who, &Action::ALL.map(Action::name), "**")
}
