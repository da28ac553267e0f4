//! What is looked at before a change of the control state is proposed: whether the
//! documents fit together (`weft_govern::check`), whether policies can be read,
//! whether schemas can and whom they would break (`schemas.rs`), and whether the
//! author could still change things after it. And why policies of the state say what
//! they say.

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_base::Clock;
use weft_govern::access::{Action, Ask, Fault, Judge, Place, Principal};
use weft_govern::api::{Able, At, Explained, Who, Whom};
use weft_govern::{Key, State};
use weft_hub::HubOptions;
use weft_hub::govern::{Objection, Vet};
use weft_policy::{CedarJudge, Limits, Subject};
use weft_topic::Filter;

use super::files::{Documents, WHAT};
use super::schemas::Looking;
use crate::Usage;
use crate::config::ConfigError;

/// Vets for one hub. Holds the compiled policies of the state that it saw last.
pub(crate) struct Vetting {
    judge: CedarJudge,
    /// Of the state that the change makes which was let through last: whoever judges
    /// by it finds them compiled.
    vetted: Option<CedarJudge>,
    schemas: Looking,
    place: Place,
    clock: Arc<dyn Clock>,
}

impl Vetting {
    /// For a hub of these options. A clone of `judge` decides there: what either has
    /// compiled the other does not compile again, so that a question or a change holds
    /// up nobody for longer than its own documents take.
    pub(crate) fn new(options: &HubOptions, clock: Arc<dyn Clock>, judge: CedarJudge) -> Self {
        let place = Place {
            hub: options.name.as_str().into(),
            region: options.region.as_str().into(),
            labels: options.labels.iter().map(|label| label.as_str().into()).collect(),
        };
        Self { judge, vetted: None, schemas: Looking::new(), place, clock }
    }

    fn learn(&mut self, state: &State) {
        if self.judge.version() != state.version() {
            self.judge.learn(state);
        }
    }
}

impl Vet for Vetting {
    fn vet(
        &mut self,
        before: &Arc<State>,
        after: &Arc<State>,
        author: &Arc<Principal>,
        is_administrator: bool,
    ) -> Result<(), Objection> {
        self.learn(before);
        let mut then = self.judge.clone();
        let faults = faults(&mut then, &mut self.schemas, before, after);
        if !faults.is_empty() {
            return Err(Objection::Faults(faults));
        }
        if !is_administrator {
            let now = self.clock.now().wall;
            if let Some(why) = self.judge.would_lock_out(before, after, author, &self.place, now) {
                return Err(Objection::LockedOut(why));
            }
        }
        self.vetted = Some(then);
        Ok(())
    }

    fn explain(&mut self, state: &Arc<State>, ask: &Ask, at: &At) -> Explained {
        self.learn(state);
        let (place, now) = at.of(&self.place, self.clock.now().wall);
        super::judge::explain(&self.judge, ask, &place, now)
    }

    fn can(&mut self, state: &Arc<State>, whom: &Whom, action: Action, topics: &Filter) -> Result<Able, String> {
        self.learn(state);
        can(&self.judge, state, whom, action, topics)
    }
}

/// All that is wrong with what is not the same in two states, whoever wants it so: at
/// a hub with what a change would make of its state, and without one with what files
/// have. `judge` learns the state that is to be.
fn faults(judge: &mut CedarJudge, schemas: &mut Looking, before: &State, after: &State) -> Vec<Fault> {
    let changed = changed(before, after);
    let names: BTreeSet<String> = changed.iter().map(ToString::to_string).collect();
    let mut faults = weft_govern::check::check(before, after, &changed);
    // What was wrong before, and is not touched, stands in nobody's way.
    faults.extend(judge.learn(after).into_iter().filter(|fault| names.contains(&fault.key)));
    // Those that stand by themselves are compiled and compared.
    if faults.is_empty() {
        faults = schemas.look(before, after, &changed);
    }
    faults
}

/// Vets the documents of files as a hub without any state would. Answers how many
/// rules of policies there are.
///
/// # Errors
/// All that is wrong, a line each with its place; or the schema of policies cannot
/// be read, which is a mistake of this program.
pub(crate) fn vet_files(documents: &Documents) -> anyhow::Result<usize> {
    let mut judge = CedarJudge::new(Limits::default())?;
    let faults = faults(&mut judge, &mut Looking::new(), &State::default(), &documents.state());
    if faults.is_empty() {
        return Ok(judge.rules());
    }
    // Where policies are wrong this says it by rule, line and column.
    super::policies::compile(documents)?;
    let mistakes = ConfigError::Mistakes { what: WHAT, count: faults.len(), lines: documents.told(&faults) };
    Err(Usage(mistakes.to_string()).into())
}

/// Whether somebody ever may, by the policies that `judge` has learned of `state`.
///
/// # Errors
/// Whom it is about cannot be told.
pub(crate) fn can(
    judge: &CedarJudge,
    state: &State,
    whom: &Whom,
    action: Action,
    topics: &Filter,
) -> Result<Able, String> {
    let somebody = |who: &Who| who.resolve(state).map(|principal| Subject::Principal(Arc::new(principal)));
    let subject = match whom {
        Whom::Somebody(who) => somebody(who)?,
        Whom::Tenant(tenant) => Subject::Tenant(tenant.as_str().into()),
        Whom::Role { tenant, role } => {
            Subject::Role { tenant: tenant.as_deref().map(Arc::from), role: role.as_str().into() }
        }
    };
    Ok(judge.can(&subject, action, topics).told(judge.version()))
}

/// What is not the same in two states.
fn changed(before: &State, after: &State) -> Vec<Key> {
    let new = after.items().filter(|(key, item)| before.get(key) != Some(item)).map(|(key, _)| key.clone());
    let gone = before.items().filter(|(key, _)| after.get(key).is_none()).map(|(key, _)| key.clone());
    let mut changed: Vec<Key> = new.chain(gone).collect();
    changed.sort();
    changed
}

#[cfg(test)]
mod tests {
    use weft_base::SystemClock;
    use weft_govern::Kind;
    use weft_govern::access::{Method, Resource};

    use super::super::Enforced;
    use super::*;

    /// A state with policies of these names.
    fn with(before: &State, names: &[&str]) -> Arc<State> {
        let rules = "@id(\"r\")\npermit (principal, action, resource in TopicFilter::\"a/**\");";
        let document = serde_json::json!({ "rules": rules }).to_string();
        let key = |name: &&str| (Key::new(Kind::Policy, name).expect("a name"), Arc::<str>::from(document.as_str()));
        Arc::new(before.with(names.iter().map(key), &[]))
    }

    #[test]
    fn each_policy_is_compiled_once_at_a_hub_whether_it_is_judged_by_or_asked_about_first() {
        let judge = CedarJudge::new(Limits::default()).expect("a judge");
        let compiled = || judge.compiled();
        let options = HubOptions::new("hub");
        let mut vetting = Vetting::new(&options, Arc::new(SystemClock::new()), judge.clone());
        let mut enforced = Enforced::new(judge.clone());
        let principal = Principal { tenant: None, name: "ann".into(), roles: [].into(), method: Method::Certificate };
        let author = Arc::new(principal);
        let topic = Resource::Topic(Filter::parse("a/b").expect("a topic"));
        let ask = Ask { principal: author.clone(), action: Action::Publish, resource: topic, lane: None };

        // The hub has started, and somebody asks.
        let first = with(&State::default(), &["p", "q", "r"]);
        assert!(enforced.learn(&first).is_empty());
        assert_eq!(compiled(), 3);
        assert!(vetting.explain(&first, &ask, &At::default()).allowed);
        assert_eq!(compiled(), 3, "a question compiles nothing that is judged by");
        // A change compiles what it brings, and whoever judges by it afterwards nothing.
        let second = with(&first, &["s"]);
        assert_eq!(vetting.vet(&first, &second, &author, false), Ok(()));
        assert_eq!(compiled(), 4);
        assert!(enforced.learn(&second).is_empty());
        assert!(vetting.explain(&second, &ask, &At::default()).allowed);
        assert_eq!(compiled(), 4);
        // The other way around: asked about first, judged by afterwards.
        let third = with(&second, &["t"]);
        assert!(vetting.explain(&third, &ask, &At::default()).allowed);
        assert!(enforced.learn(&third).is_empty());
        assert_eq!(compiled(), 5);
        // What is gone is kept by nobody.
        let gone: Vec<Key> = third.items().map(|(key, _)| key.clone()).collect();
        let fourth = Arc::new(third.with([], &gone));
        assert_eq!(vetting.vet(&third, &fourth, &author, true), Ok(()));
        assert!(!vetting.explain(&fourth, &ask, &At::default()).allowed && enforced.learn(&fourth).is_empty());
        let fifth = with(&fourth, &["p"]);
        assert!(enforced.learn(&fifth).is_empty());
        assert_eq!(compiled(), 6, "it is compiled anew, so it was forgotten");
    }
}
