//! What checks payloads in tests: by the subjects of the state, a payload fits
//! that does not begin with `bad`, or with what stands in its place in the subject's
//! description. Who checks on topics below `slow/` waits while a test wants that.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use weft_govern::document::{Check, Document, Subject};
use weft_govern::inspect::{Inspector, Inspectors, Learned, Unfit};
use weft_govern::{Key, Kind, State};
use weft_hub::{Environment, Governed, Hub, HubOptions};
use weft_topic::{Filter, Topic};

/// Makes checks below `slow/` wait; not for ever, so that a test that fails ends.
#[derive(Default)]
pub struct Gate(Mutex<bool>, Condvar);

impl Gate {
    pub fn shut(&self, shut: bool) {
        *self.0.lock().expect("nobody panics") = shut;
        self.1.notify_all();
    }

    fn pass(&self) {
        let shut = self.0.lock().expect("nobody panics");
        let _ = self.1.wait_timeout_while(shut, Duration::from_secs(60), |shut| *shut).expect("nobody panics");
    }
}

struct Fake {
    subjects: Vec<(Filter, String, Subject)>,
    gate: Arc<Gate>,
    state: u64,
}

impl Fake {
    fn find(&self, topic: &str) -> Option<&(Filter, String, Subject)> {
        let topic = Topic::parse(topic).ok()?;
        self.subjects.iter().find(|(filter, _, subject)| filter.matches(topic) && subject.check != Check::Off)
    }
}

impl Inspector for Fake {
    fn checks(&self, topic: &str) -> bool {
        self.find(topic).is_some()
    }

    fn inspect(&self, topic: &str, schema: u32, payload: &[u8]) -> Result<(), Box<Unfit>> {
        let Some((_, name, subject)) = self.find(topic) else { return Ok(()) };
        if topic.starts_with("slow/") {
            self.gate.pass();
        }
        let bad = if subject.description.is_empty() { "bad" } else { &subject.description };
        if !payload.starts_with(bad.as_bytes()) {
            return Ok(());
        }
        Err(Box::new(Unfit {
            tenant: None,
            check: subject.check,
            subject: name.as_str().into(),
            version: Some(3),
            schema: Some(schema.max(7)),
            state: self.state,
            at: "/0".into(),
            rule: "good".into(),
            text: "it is bad".into(),
            quarantine: subject.quarantine.as_deref().map(Arc::from),
        }))
    }
}

struct Fakes(Arc<Gate>);

impl Inspectors for Fakes {
    fn learn(&mut self, state: &Arc<State>) -> Learned {
        let mut subjects = Vec::new();
        for (key, item) in state.of_kind(Kind::Subject) {
            if let Ok(Document::Subject(subject)) = Document::read(Kind::Subject, &item.document) {
                for topic in &subject.topics {
                    let filter = Filter::parse(topic).expect("a filter");
                    subjects.push((filter, key.name().to_owned(), subject.clone()));
                }
            }
        }
        let inspector = Arc::new(Fake { subjects, gate: self.0.clone(), state: state.version() });
        Learned { inspector, faults: Arc::default(), schemas: 1, compiled: 1 }
    }
}

/// A hub that checks payloads.
pub struct Checking {
    pub hub: Hub,
    pub governed: Governed,
    pub gate: Arc<Gate>,
}

fn put(state: &State, subjects: &[(&str, &str)]) -> State {
    let puts = subjects
        .iter()
        .map(|(name, document)| (Key::new(Kind::Subject, name).expect("a name"), Arc::<str>::from(*document)));
    state.with(puts, &[])
}

impl Checking {
    /// With these subjects, as JSON.
    pub fn start(options: HubOptions, subjects: &[(&str, &str)]) -> Self {
        let gate = Arc::<Gate>::default();
        let governed = Governed::new(Arc::new(put(&State::default(), subjects)));
        let environment = Environment {
            inspectors: Some(Box::new(Fakes(gate.clone()))),
            governed: governed.clone(),
            ..Environment::of_machine(&options).expect("a network")
        };
        let hub = Hub::start_in(options, environment).expect("the hub starts");
        Self { hub, governed, gate }
    }

    /// Until the state is checked by: before, every payload is looked at.
    pub fn learned(self) -> Self {
        let version = self.governed.state().version();
        for _ in 0..4_000 {
            if self.count("schema.version") == version {
                return self;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        panic!("the state was never learned");
    }

    pub fn change(&self, subjects: &[(&str, &str)]) {
        assert!(self.governed.put(Arc::new(put(&self.governed.state(), subjects))));
    }

    pub fn count(&self, name: &str) -> u64 {
        let all = self.hub.counters().list();
        all.iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value)
    }
}
