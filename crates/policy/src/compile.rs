//! From a policy's text to rules, or to what is wrong with it.
//!
//! In order: the look before (`scan.rs`), Cedar's parser, the `@id` of each
//! rule, Cedar's validator by the schema, the rewriting (`rewrite.rs`). Nothing
//! of a policy is taken when any of it is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, PoisonError, Weak};

use cedar_policy::{Expression, PolicySet, Schema, ValidationMode, Validator, pst};
use miette::Diagnostic;
use weft_base::sync::Mutex;
use weft_base::sync::atomic::{AtomicU64, Ordering};
use weft_govern::Key;

use crate::judge::Broken;
use crate::limits::{Limits, MAX_FLAWS, MAX_ID};
use crate::rewrite::rewrite;
use crate::rule::Rule;
use crate::scan::{self, scan};

/// What policies may speak of, in Cedar's language for schemas.
pub const SCHEMA: &str = include_str!("schema.cedarschema");

/// Something in a policy that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub struct Flaw {
    /// The policy's name.
    pub document: String,
    /// In which line, from 1.
    pub line: u32,
    /// At which character of it, from 1.
    pub column: u32,
    /// The rule's `@id`, where it has one.
    pub rule: Option<String>,
    /// What is wrong, and what to do.
    pub what: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.document, self.line, self.column)?;
        if let Some(rule) = &self.rule {
            write!(f, "rule `{rule}`: ")?;
        }
        f.write_str(&self.what)
    }
}

/// Compiles policies. Made once; making it reads the schema.
pub struct Compiler {
    validator: Validator,
    limits: Limits,
    known: Known,
}

/// Texts of policies, and what they became.
type Last = BTreeMap<Key, (Arc<str>, Weak<Compiled>)>;

/// What is compiled of policies, as long as a judge has it: several judges of one
/// compiler, on threads of their own, compile each policy once between them. Of each
/// policy the text that was compiled last, so that it holds no more than there are
/// policies; the lock is held to look up or to put in, and not while compiling.
#[derive(Default)]
struct Known {
    last: Mutex<Last>,
    /// How often something was compiled.
    compiled: AtomicU64,
}

impl Known {
    fn with<T>(&self, act: impl FnOnce(&mut Last) -> T) -> T {
        // Whoever panicked with the lock had changed all or nothing.
        act(&mut self.last.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiler").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// The schema of this crate is not one: never, by its tests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the schema of policies cannot be read: {0}; this is a mistake in Weft, report it")]
pub struct SchemaError(String);

impl SchemaError {
    pub(crate) fn of_types() -> Self {
        Self("a type has no name".into())
    }
}

/// The rules of one policy.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    pub(crate) rules: Vec<Arc<Rule>>,
}

impl Compiled {
    /// The names of the rules, `document/id`, in the order of the text.
    pub fn rules(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| &*rule.name)
    }
}

impl Compiler {
    /// A compiler.
    ///
    /// # Errors
    /// [`SchemaError`], which the tests rule out.
    pub fn new(limits: Limits) -> Result<Self, SchemaError> {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).map_err(|e| SchemaError(e.to_string()))?;
        Ok(Self { validator: Validator::new(schema), limits, known: Known::default() })
    }

    /// Compiles the policy of a document of the state with this text, unless a judge
    /// of this compiler has that.
    pub(crate) fn compile_once(
        &self,
        key: &Key,
        source: &Arc<str>,
        policy: impl FnOnce() -> Result<Compiled, Broken>,
    ) -> Result<Arc<Compiled>, Broken> {
        let known = |last: &mut BTreeMap<Key, (Arc<str>, Weak<Compiled>)>| {
            last.get(key).filter(|(text, _)| text == source).and_then(|(_, compiled)| compiled.upgrade())
        };
        if let Some(compiled) = self.known.with(known) {
            return Ok(compiled);
        }
        self.known.compiled.fetch_add(1, Ordering::Relaxed);
        let compiled = Arc::new(policy()?);
        let entry = (source.clone(), Arc::downgrade(&compiled));
        self.known.with(|last| last.insert(key.clone(), entry));
        Ok(compiled)
    }

    /// Forgets what no judge has any more.
    pub(crate) fn forget_unused(&self) {
        self.known.with(|last| last.retain(|_, (_, compiled)| compiled.strong_count() > 0));
    }

    /// How many policies were compiled for judges.
    pub(crate) fn compiled(&self) -> u64 {
        self.known.compiled.load(Ordering::Relaxed)
    }

    /// The limits.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Compiles the rules of the policy `document`, of a tenant or of the mesh.
    ///
    /// # Errors
    /// What is wrong, in the order of the text; at most [`MAX_FLAWS`].
    pub fn compile(&self, document: &str, tenant: Option<&str>, text: &str) -> Result<Compiled, Vec<Flaw>> {
        let mut flaws = Flaws { document, text, starts: Vec::new(), ids: Vec::new(), found: BTreeSet::new() };
        match scan(text, &self.limits) {
            Ok(scan) => flaws.starts = scan.rules,
            Err(refusal) => {
                flaws.add(None, Some(refusal.offset), refusal.what);
                return Err(flaws.end());
            }
        }
        let policies = match text.parse::<PolicySet>() {
            Ok(policies) => policies,
            Err(errors) => {
                for error in errors.iter().take(MAX_FLAWS) {
                    flaws.add_diagnostic(None, error);
                }
                return Err(flaws.end());
            }
        };
        for template in policies.templates() {
            let rule = number(template.id());
            flaws.add(rule, None, "it is a template (`?principal`, `?resource`): write the names themselves".into());
        }
        let ordered: BTreeMap<usize, &cedar_policy::Policy> =
            policies.policies().filter_map(|policy| Some((number(policy.id())?, policy))).collect();
        flaws.ids(&ordered);
        flaws.check()?;
        let result = self.validator.validate(&policies, ValidationMode::Strict);
        for error in result.validation_errors().take(MAX_FLAWS) {
            flaws.add_diagnostic(number(error.policy_id()), error);
        }
        for warning in result.validation_warnings().take(MAX_FLAWS) {
            flaws.add_diagnostic(number(warning.policy_id()), warning);
        }
        flaws.check()?;
        let mut rules = Vec::with_capacity(ordered.len());
        for (at, policy) in ordered {
            match one(document, tenant, policy, &flaws, at) {
                Ok(rule) => rules.push(Arc::new(rule)),
                Err(what) => flaws.add(Some(at), None, what),
            }
        }
        flaws.check()?;
        Ok(Compiled { rules })
    }
}

/// Which rule of the text it is, from 0: the parser calls them `policy0`, `policy1`.
fn number(id: &cedar_policy::PolicyId) -> Option<usize> {
    let id: &str = id.as_ref();
    id.strip_prefix("policy")?.parse().ok()
}

/// Compiles one rule that is valid by the schema.
fn one(
    document: &str,
    tenant: Option<&str>,
    policy: &cedar_policy::Policy,
    flaws: &Flaws<'_>,
    at: usize,
) -> Result<Rule, String> {
    // Without the text that the policy keeps beside its tree, which would be
    // parsed again here, and be most of what compiling costs.
    let tree = cedar_policy::Policy::from(policy.as_ref().clone()).to_pst().map_err(|e| e.to_string())?;
    let pst::Policy::Static(written) = tree else {
        return Err("it is made from a template, which is not supported".into());
    };
    let rewritten = rewrite(written.body())?;
    let start = flaws.starts.get(at).copied().unwrap_or_default();
    let end = flaws.starts.get(at + 1).copied().unwrap_or(flaws.text.len());
    let condition = condition(rewritten.template)?;
    let (line, _) = scan::place(flaws.text, start);
    let id = flaws.id(at).unwrap_or_default();
    Ok(Rule {
        name: format!("{document}/{id}").into(),
        line,
        fence: tenant.map(Into::into),
        forbids: written.body().effect == pst::Effect::Forbid,
        who: rewritten.who,
        actions: rewritten.actions,
        what: rewritten.what,
        atoms: rewritten.atoms,
        text: flaws.text.get(start..end).unwrap_or_default().into(),
        clauses: written.body().clauses().clone().into_boxed_slice(),
        condition,
        reads_time: rewritten.reads_time,
        reads_now: rewritten.reads_now,
    })
}

/// The clauses of a rule as they were written, and as they are compiled.
pub(crate) fn written(rule: &Rule) -> Vec<(pst::Clause, pst::Clause)> {
    let Ok(policy) = cedar_policy::Policy::parse(None, &rule.text) else { return Vec::new() };
    let Ok(pst::Policy::Static(written)) = policy.to_pst() else { return Vec::new() };
    let Ok(rewritten) = rewrite(written.body()) else { return Vec::new() };
    written.body().clauses().iter().cloned().zip(rewritten.template.clauses().iter().cloned()).collect()
}

/// The whole condition of a rule, scope and clauses, as one expression.
pub(crate) fn condition(template: pst::Template) -> Result<Expression, String> {
    let policy = pst::StaticPolicy::try_from(template).map_err(|e| e.to_string())?;
    let policy = cedar_policy::Policy::from_pst(policy.into()).map_err(|e| e.to_string())?;
    // Cedar's own tree: made once here, where its authorizer makes it anew for
    // each question.
    Ok(Expression::from(policy.as_ref().condition()))
}

/// What was found wrong, and where rules stand.
struct Flaws<'a> {
    document: &'a str,
    text: &'a str,
    starts: Vec<usize>,
    ids: Vec<Option<String>>,
    found: BTreeSet<Flaw>,
}

impl Flaws<'_> {
    fn id(&self, rule: usize) -> Option<String> {
        self.ids.get(rule).cloned().flatten()
    }

    fn add(&mut self, rule: Option<usize>, offset: Option<usize>, what: String) {
        let start = rule.and_then(|rule| self.starts.get(rule).copied());
        let offset = offset.or(start).unwrap_or_default();
        let (line, column) = scan::place(self.text, offset);
        let rule = rule.or_else(|| self.starts.iter().rposition(|start| *start <= offset)).and_then(|at| self.id(at));
        if self.found.len() < MAX_FLAWS {
            self.found.insert(Flaw { document: self.document.into(), line, column, rule, what });
        }
    }

    fn add_diagnostic(&mut self, rule: Option<usize>, diagnostic: &dyn Diagnostic) {
        let offset = diagnostic.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
        let mut what = bounded(&diagnostic.to_string());
        // Cedar names rules by their number, which nobody wrote.
        if let Some(rest) = what.strip_prefix("for policy `").and_then(|rest| rest.split_once("`, ")) {
            what = rest.1.to_owned();
        }
        if let Some(help) = diagnostic.help() {
            what = format!("{what}: {}", bounded(&help.to_string()));
        }
        self.add(rule, offset, what);
    }

    /// Reads the `@id` of each rule.
    fn ids(&mut self, rules: &BTreeMap<usize, &cedar_policy::Policy>) {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for (at, policy) in rules {
            let id = policy.annotation("id").map(str::to_owned);
            self.ids.resize(self.ids.len().max(at + 1), None);
            match id {
                None => self.add(Some(*at), None, "the rule has no name: write `@id(\"name\")` before it".into()),
                Some(id) if !is_id(&id) => {
                    let shown: String = id.chars().take(MAX_ID).collect();
                    self.add(
                        Some(*at),
                        None,
                        format!(
                            "the name `{}` is not possible: 1 to {MAX_ID} letters, digits, `-`, `_`, `.`",
                            shown.escape_debug()
                        ),
                    );
                }
                Some(id) => match seen.get(&id) {
                    Some(first) => {
                        let (line, _) = scan::place(self.text, self.starts.get(*first).copied().unwrap_or_default());
                        self.add(
                            Some(*at),
                            None,
                            format!("the rule of line {line} has the name `{id}` too: rename one"),
                        );
                    }
                    None => {
                        seen.insert(id.clone(), *at);
                        if let Some(slot) = self.ids.get_mut(*at) {
                            *slot = Some(id);
                        }
                    }
                },
            }
        }
    }

    fn check(&mut self) -> Result<(), Vec<Flaw>> {
        if self.found.is_empty() { Ok(()) } else { Err(std::mem::take(&mut self.found).into_iter().collect()) }
    }

    fn end(mut self) -> Vec<Flaw> {
        if self.found.is_empty() {
            self.add(None, None, "it cannot be read as Cedar".into());
        }
        self.found.into_iter().collect()
    }
}

fn is_id(id: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=MAX_ID).contains(&id.len()) && id.chars().all(fits)
}

/// A message of Cedar's may hold as much as the text does.
fn bounded(text: &str) -> String {
    const MOST: usize = 400;
    if text.len() <= MOST { text.to_owned() } else { text.chars().take(MOST).chain("...".chars()).collect() }
}

/// The mistakes as one text, a line each.
#[must_use]
pub fn told(flaws: &[Flaw]) -> String {
    let lines: Vec<_> = flaws.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
