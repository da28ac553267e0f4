//! The judge: what hubs ask.
//!
//! First the administrators, then the fence between tenants, then the rules:
//! what one forbids is refused, what one permits is allowed, and all else is
//! refused. A rule that cannot be evaluated forbids if it is there to forbid,
//! and permits nothing. A policy that cannot be understood forbids whatever its
//! tenant's principals ask, and whatever is asked about that tenant's topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_base::UnixNanos;
use weft_govern::access::{Action, Ask, Fault, Judge, Method, Place, Principal, Verdict};
use weft_govern::document;
use weft_govern::fence::Fence;
use weft_govern::{Key, Kind, State};

use crate::compile::{Compiled, Compiler, SchemaError, told};
use crate::evaluate::{Outcome, Question, Types, seconds};
use crate::index::{Index, Indexed, Look};
use crate::limits::Limits;

/// The most rules that a verdict names; once as many have been found that
/// decide, no more are looked at.
pub const MAX_NAMED: usize = 16;

/// Rules that are put to Cedar together.
const AT_A_TIME: usize = 64;

/// A policy document that was read, and what became of it.
#[derive(Clone, Debug)]
struct Document {
    /// The text that it was read from, to know it again.
    source: Arc<str>,
    /// Rules, or whom it would have spoken for and what is wrong.
    result: Result<Arc<Compiled>, Broken>,
}

/// A policy that cannot be understood.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    /// The name that stands for it in verdicts.
    pub(crate) name: Arc<str>,
    /// The tenant it is of; none: it is the mesh's, or that cannot be told.
    pub(crate) tenant: Option<Arc<str>>,
    what: String,
}

/// Judges by policies in Cedar. A clone shares what was compiled, and what either
/// compiles from then on.
#[derive(Clone, Debug)]
pub struct CedarJudge {
    compiler: Arc<Compiler>,
    pub(crate) types: Types,
    version: u64,
    documents: BTreeMap<Key, Document>,
    pub(crate) broken: Vec<Broken>,
    pub(crate) index: Arc<Index>,
    pub(crate) fence: Arc<Fence>,
}

impl CedarJudge {
    /// A judge that has learned nothing and so allows nothing but to
    /// administrators.
    ///
    /// # Errors
    /// [`SchemaError`], which the tests rule out.
    pub fn new(limits: Limits) -> Result<Self, SchemaError> {
        let types = Types::new().ok_or_else(SchemaError::of_types)?;
        Ok(Self {
            compiler: Arc::new(Compiler::new(limits)?),
            types,
            version: 0,
            documents: BTreeMap::new(),
            broken: Vec::new(),
            index: Arc::default(),
            fence: Arc::default(),
        })
    }

    /// How many rules there are.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.index.rules().len()
    }

    /// How many policies this judge and those that it was cloned to or from have
    /// compiled: each is once, whichever of them meets it first, as long as one has it.
    #[must_use]
    pub fn compiled(&self) -> u64 {
        self.compiler.compiled()
    }

    /// Reads one document, unless it is the one that was read before.
    fn read(&self, key: &Key, source: &Arc<str>) -> Document {
        if let Some(known) = self.documents.get(key)
            && known.source == *source
        {
            return known.clone();
        }
        let broken = |tenant: Option<&str>, what: String| Broken {
            name: format!("{}/(unreadable)", key.name()).into(),
            tenant: tenant.map(Into::into),
            what,
        };
        let result = match document::read::<document::Policy>(source) {
            Err(error) => Err(broken(None, format!("it is not a policy: {error}"))),
            Ok(policy) => self.compiler.compile_once(key, source, || {
                let tenant = policy.tenant.as_deref();
                let compiled = self.compiler.compile(key.name(), tenant, &policy.rules);
                compiled.map_err(|flaws| broken(tenant, told(&flaws)))
            }),
        };
        Document { source: source.clone(), result }
    }

    /// What the administrators' names in the hub's own configuration give them.
    pub(crate) fn is_administrators(ask: &Ask) -> bool {
        ask.principal.method == Method::Administrator && matches!(ask.action, Action::Administer | Action::Observe)
    }

    /// A principal whose name, tenant or role would read as another's.
    pub(crate) fn is_ambiguous(who: &Principal) -> bool {
        who.name.contains('/') || who.tenant.iter().chain(who.roles.iter()).any(|name| name.contains('/'))
    }

    /// The policies that cannot be understood and would speak of a question.
    pub(crate) fn broken_for<'a>(&'a self, ask: &'a Ask, look: &'a Look) -> impl Iterator<Item = &'a Broken> {
        self.broken.iter().filter(move |broken| match &broken.tenant {
            None => true,
            Some(tenant) => ask.principal.tenant.as_ref() == Some(tenant) || self.index.owns_part(look, tenant),
        })
    }

    fn verdict(&self, allowed: bool, rules: Vec<Arc<str>>, reason: String) -> Verdict {
        Verdict { allowed, version: self.version, until: None, rules: rules.into(), reason: reason.into() }
    }

    /// By the rules alone, after administrators and the fence.
    fn by_rules(&self, ask: &Ask, place: &Place, now: UnixNanos) -> Verdict {
        let look = self.index.look(ask);
        let broken: Vec<_> = self.broken_for(ask, &look).take(MAX_NAMED).map(|broken| broken.name.clone()).collect();
        if !broken.is_empty() {
            let reason = format!(
                "the policy `{}` cannot be understood by this hub: correct it, or bring the hub to the mesh's version",
                list(&broken)
            );
            return self.verdict(false, broken, reason);
        }
        let candidates = self.index.candidates(&look, ask);
        let (forbids, permits): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|indexed| indexed.rule.forbids);
        let mut heard = Heard::default();
        let asked = self.hear(&forbids, &mut heard, ask, &look, place, now).and_then(|()| {
            if heard.names.is_empty() { self.hear(&permits, &mut heard, ask, &look, place, now) } else { Ok(()) }
        });
        let reads_time = heard.reads_time;
        let mut verdict = match asked {
            Ok(()) => self.decide(ask, heard),
            Err(error) => {
                self.verdict(false, Vec::new(), format!("the question cannot be put to the policies: {error}"))
            }
        };
        if reads_time {
            verdict.until = Some(next_second(now));
        }
        verdict
    }

    /// Evaluates rules, all of which forbid or all of which permit, some at a
    /// time, until there are as many as a verdict names.
    fn hear(
        &self,
        rules: &[&Indexed],
        heard: &mut Heard,
        ask: &Ask,
        look: &Look,
        place: &Place,
        now: UnixNanos,
    ) -> Result<(), String> {
        for some in rules.chunks(AT_A_TIME) {
            let question = Question::new(&self.types, ask, look, some, place, now)?;
            for indexed in some {
                let rule = &indexed.rule;
                heard.reads_time |= rule.reads_time;
                let decides = match question.evaluate(&rule.condition) {
                    Outcome::Holds => true,
                    Outcome::Fails => false,
                    Outcome::Error(error) => {
                        if heard.failed.len() < MAX_NAMED {
                            heard.failed.push(format!("`{}` cannot be evaluated ({error})", rule.name));
                        }
                        rule.forbids
                    }
                };
                if decides {
                    heard.forbids = rule.forbids;
                    heard.names.push(rule.name.clone());
                }
                if heard.names.len() >= MAX_NAMED {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn decide(&self, ask: &Ask, heard: Heard) -> Verdict {
        let failed = if heard.failed.is_empty() { String::new() } else { format!("; {}", heard.failed.join(", ")) };
        let what = format!("{} {}", ask.action.name(), ask.resource);
        let names = heard.names;
        if names.is_empty() {
            let reason = format!(
                "no policy permits `{}` to {what}{failed}: ask for a rule that does (`weft policy explain` says what is missing)",
                ask.principal
            );
            return self.verdict(false, names, reason);
        }
        let reason = if heard.forbids {
            format!("`{}` forbids `{}` to {what}{failed}: ask whoever keeps that policy", list(&names), ask.principal)
        } else {
            format!("`{}` permits it{failed}", list(&names))
        };
        self.verdict(!heard.forbids, names, reason)
    }
}

/// What rules said.
#[derive(Debug, Default)]
struct Heard {
    /// Those that decide, in order.
    names: Vec<Arc<str>>,
    /// They forbid; otherwise they permit.
    forbids: bool,
    /// Those that could not be evaluated, with the reason.
    failed: Vec<String>,
    /// One of them reads the time.
    reads_time: bool,
}

fn list(names: &[Arc<str>]) -> String {
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    names.join("`, `")
}

/// When a verdict that hangs on the time may be another: rules see whole seconds.
pub(crate) fn next_second(now: UnixNanos) -> UnixNanos {
    let next = u64::try_from(seconds(now)).unwrap_or_default().saturating_add(1);
    UnixNanos(next.saturating_mul(1_000_000_000))
}

impl Judge for CedarJudge {
    fn learn(&mut self, state: &State) -> Vec<Fault> {
        let (fence, mut faults) = Fence::learn(state);
        let mut documents = BTreeMap::new();
        let mut rules = 0;
        for (key, item) in state.of_kind(Kind::Policy) {
            let mut document = self.read(key, &item.document);
            if let Ok(compiled) = &document.result {
                rules += compiled.rules.len();
                if rules > self.compiler.limits().all_rules {
                    let tenant = compiled.rules.first().and_then(|rule| rule.fence.clone());
                    document.result = Err(Broken {
                        name: format!("{}/(unreadable)", key.name()).into(),
                        tenant,
                        what: format!("there are more than {} rules in all", self.compiler.limits().all_rules),
                    });
                    // It is to be read again when there is room.
                    document.source = "".into();
                }
            }
            if let Err(broken) = &document.result {
                faults.push(Fault { key: key.to_string(), what: broken.what.clone() });
            }
            documents.insert(key.clone(), document);
        }
        let compiled = documents.values().filter_map(|document| document.result.as_ref().ok());
        self.index = Arc::new(Index::new(
            compiled.flat_map(|compiled| &compiled.rules),
            fence.topics().map(|(tenant, filter)| (&**tenant, filter)),
        ));
        self.broken = documents.values().filter_map(|document| document.result.as_ref().err().cloned()).collect();
        self.documents = documents;
        self.compiler.forget_unused();
        self.fence = Arc::new(fence);
        self.version = state.version();
        faults
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn judge(&self, ask: &Ask, place: &Place, now: UnixNanos) -> Verdict {
        if Self::is_administrators(ask) {
            let reason = "the hub's own configuration names them as an administrator".to_owned();
            return self.verdict(true, Vec::new(), reason);
        }
        if Self::is_ambiguous(&ask.principal) {
            let reason =
                "a `/` in the name of a principal, a tenant or a role reads as another's: rename it".to_owned();
            return self.verdict(false, Vec::new(), reason);
        }
        if let Some(reason) = self.fence.refuses(ask) {
            return self.verdict(false, Vec::new(), reason);
        }
        self.by_rules(ask, place, now)
    }
}
