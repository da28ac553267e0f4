//! The whole: a state is learned, who knocks is answered.
//!
//! Failures are counted by address and, of passwords, by name; who fails too often
//! waits, whatever it shows, but for names that have logged in from the same
//! address before: nobody is locked out by others who guess.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use weft_base::{Mono, Now, UnixNanos};
use weft_govern::access::{Fault, Method, Principal};
use weft_govern::login::{Answer, Certificate, Credentials, Knock, Login, Proof, Refusal, Secret, TokenFacts};
use weft_govern::{Kind, State};

use crate::attempts::{Attempts, network_of};
use crate::identities::{Identities, MAX_ROLES, is_spiffe};
use crate::issuer::{self, Believed, Fetch, Found, Limits, Source};
use crate::password::Check;
use crate::refusal::{bad, expired, limited, unavailable};
use crate::token::{Claims, MAX_VALUE, Unverified};

/// Address of who is connected by shared memory.
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// How far an answer got.
#[derive(Debug)]
pub enum Begun {
    /// This is it.
    Done(Answer),
    /// A password is to be checked: run it, and go on with [`Logins::checked`].
    Check(Check, Pending),
    /// Keys of this issuer are to be fetched first: ask again then, with `again`.
    Keys {
        /// The resource `issuer/NAME`.
        issuer: Arc<str>,
        /// What to ask again.
        knock: Knock,
    },
}

/// A login whose password is being checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    name: String,
    from: IpAddr,
}

/// Who may log in.
#[derive(Debug)]
pub struct Logins {
    limits: Limits,
    version: u64,
    identities: Identities,
    issuers: BTreeMap<Arc<str>, Believed>,
    /// The resources' names by what tokens call their issuer.
    by_issuer: BTreeMap<String, Vec<Arc<str>>>,
    passwords_from: Attempts<IpAddr>,
    passwords_of: Attempts<String>,
    proofs_from: Attempts<IpAddr>,
    /// Who has logged in by password from where; as many as are told apart.
    good: BTreeMap<(String, IpAddr), Mono>,
}

impl Logins {
    /// Nobody yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let most = limits.told_apart;
        Self {
            passwords_from: Attempts::new(limits.passwords_per_source, most),
            passwords_of: Attempts::new(limits.passwords_per_name, most),
            proofs_from: Attempts::new(limits.proofs_per_source, most),
            limits,
            version: 0,
            identities: Identities::default(),
            issuers: BTreeMap::new(),
            by_issuer: BTreeMap::new(),
            good: BTreeMap::new(),
        }
    }

    /// Takes a state in the place of the one before. Documents that cannot be used
    /// are named, and let nobody in.
    pub fn learn(&mut self, state: &State) -> Vec<Fault> {
        self.version = state.version();
        let mut faults = self.identities.learn(state);
        let mut before = std::mem::take(&mut self.issuers);
        self.by_issuer.clear();
        for (key, item) in state.of_kind(Kind::Issuer) {
            let fetched = before.remove(key.name()).and_then(|believed| match believed.source {
                Source::Fetched(fetched) => Some(fetched),
                Source::Fixed(_) => None,
            });
            match issuer::read(&item.document).and_then(|document| Believed::new(document, fetched)) {
                Ok(believed) => {
                    let name: Arc<str> = key.name().into();
                    self.by_issuer.entry(believed.document.issuer.clone()).or_default().push(name.clone());
                    self.issuers.insert(name, believed);
                }
                Err(what) => faults.push(Fault { key: key.to_string(), what }),
            }
        }
        faults
    }

    /// The version of the state learned last.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Answers, or says what is needed for that. `again`: keys were waited for already.
    pub fn begin(&mut self, knock: Knock, again: bool, now: Now) -> Begun {
        let from = network_of(knock.from.unwrap_or(HERE));
        match knock.credentials {
            Credentials::Nothing => Begun::Done(Ok(Login {
                principal: Arc::new(Principal {
                    tenant: None,
                    name: "anonymous".into(),
                    roles: [].into(),
                    method: Method::Anonymous,
                }),
                expires: None,
                proof: Proof::Nothing,
            })),
            Credentials::Certificate(certificate) => Begun::Done(self.by_certificate(&certificate, from, now)),
            Credentials::Password { name, password } => self.by_password(name, password, from, now),
            Credentials::Bearer(token) => match self.by_token(&token, (from, again), now) {
                Ok(Ok(login)) => Begun::Done(Ok(login)),
                Ok(Err(issuer)) => {
                    Begun::Keys { issuer, knock: Knock { credentials: Credentials::Bearer(token), from: knock.from } }
                }
                Err(refusal) => Begun::Done(Err(refusal)),
            },
        }
    }

    /// Answers at once, without keys that would have to be fetched.
    pub fn login(&mut self, knock: Knock, now: Now) -> Answer {
        match self.begin(knock, true, now) {
            Begun::Done(answer) => answer,
            Begun::Check(check, pending) => self.checked(&pending, check.run().as_deref(), now),
            Begun::Keys { issuer, .. } => Err(unavailable(self.limits.between, format!("the keys of `{issuer}`"))),
        }
    }

    fn by_certificate(&mut self, certificate: &Certificate, from: IpAddr, now: Now) -> Answer {
        let found = self.holder(certificate);
        let (principal, proof) = match found {
            Ok(found) => found,
            Err(log) => {
                self.limit_proofs(from, now)?;
                self.proofs_from.count(&from, now.mono);
                return Err(bad(log));
            }
        };
        if certificate.expires.is_some_and(|end| end <= now.wall) {
            return Err(expired("the certificate is over: have a new one issued", "its certificate is over"));
        }
        Ok(Login { principal: Arc::new(principal), expires: certificate.expires, proof })
    }

    /// Whose certificate it is: by SPIFFE ID before by subject.
    fn holder(&self, certificate: &Certificate) -> Result<(Principal, Proof), String> {
        let found = self.bound(certificate);
        let Some(own) = certificate.own.as_deref().filter(|_| certificate.administers) else { return found };
        // Who administers by the hub's own configuration is locked out by no document.
        let (mut principal, proof) = found.unwrap_or_else(|_| by_own_name(own));
        principal.method = Method::Administrator;
        Ok((principal, proof))
    }

    fn bound(&self, certificate: &Certificate) -> Result<(Principal, Proof), String> {
        let spiffe = certificate.spiffe.as_deref().filter(|uri| is_spiffe(uri));
        if let Some(uri) = spiffe
            && let Some(known) = self.identities.of_spiffe(uri)?
        {
            return Ok((known.principal(Method::Certificate), Proof::Spiffe(uri.into())));
        }
        // Of a SPIFFE ID of another authority the subject says nothing.
        if let Some(subject) = certificate.subject.as_deref()
            && (spiffe.is_none() || certificate.own.is_some())
            && let Some(known) = self.identities.of_subject(subject)?
        {
            return Ok((known.principal(Method::Certificate), Proof::Subject(subject.into())));
        }
        match certificate.own.as_deref() {
            Some(own) if self.identities.is_taken(own) => {
                Err(format!("identity `{own}` does not list the certificate of that name among its logins"))
            }
            Some(own) => Ok(by_own_name(own)),
            None => Err(format!("no identity lists its certificate ({certificate:?})")),
        }
    }

    fn by_password(&mut self, name: String, password: Secret, from: IpAddr, now: Now) -> Begun {
        let mut pending = Pending { name, from };
        if let Err(refusal) = self.may_try(&pending, now) {
            return Begun::Done(Err(refusal));
        }
        // What is no name is nobody's, and costs the same.
        if pending.name.len() > weft_govern::MAX_NAME {
            pending.name = String::new();
        }
        let known = self.identities.named(&pending.name).filter(|known| self.identities.check(known).is_ok());
        let hashes = known.map(|known| known.passwords.clone()).unwrap_or_default();
        Begun::Check(Check::new(password, hashes), pending)
    }

    /// Whether a password may still be tried, by what has failed meanwhile.
    ///
    /// # Errors
    /// [`Refusal`]: too many have failed.
    pub fn may_try(&self, pending: &Pending, now: Now) -> Result<(), Refusal> {
        let Pending { name, from } = pending;
        if self.good.contains_key(&(name.clone(), *from)) {
            return Ok(());
        }
        let by_address = self.passwords_from.may(from, now.mono);
        by_address.map_err(|after| limited(after, format!("too many passwords from {from} have failed")))?;
        let by_name = self.passwords_of.may(name, now.mono);
        by_name.map_err(|after| limited(after, format!("too many passwords of `{}` have failed", shown(name))))
    }

    /// The answer once a password was checked: `fits` is what [`Check::run`] said.
    pub fn checked(&mut self, pending: &Pending, fits: Option<&str>, now: Now) -> Answer {
        let Pending { name, from } = pending;
        // The state may have changed meanwhile.
        let found = fits.and_then(|hash| Some((self.of_password(name, hash).ok()?, hash)));
        let Some((principal, hash)) = found else {
            self.good.remove(&(name.clone(), *from));
            self.passwords_from.count(from, now.mono);
            self.passwords_of.count(name, now.mono);
            return Err(bad(format!("wrong name or password for `{}` from {from}", shown(name))));
        };
        if self.good.len() >= self.limits.told_apart {
            let first = self.good.iter().min_by_key(|(_, at)| **at).map(|(who, _)| who.clone());
            first.and_then(|who| self.good.remove(&who));
        }
        self.good.insert((name.clone(), *from), now.mono);
        Ok(Login { principal: Arc::new(principal), expires: None, proof: Proof::Password(hash.into()) })
    }

    fn of_password(&self, name: &str, hash: &str) -> Result<Principal, String> {
        let known = self.identities.named(name).ok_or_else(|| format!("identity `{name}` is gone"))?;
        let known = self.identities.check(known)?;
        match known.passwords.iter().any(|(_, text)| text == hash) {
            true => Ok(known.principal(Method::Password)),
            false => Err(format!("the password of identity `{name}` was changed")),
        }
    }

    fn limit_proofs(&self, from: IpAddr, now: Now) -> Result<(), Refusal> {
        let may = self.proofs_from.may(&from, now.mono);
        may.map_err(|after| limited(after, format!("too many tokens or certificates from {from} were refused")))
    }

    /// Answers with the login, or with the issuer whose keys are needed.
    fn by_token(
        &mut self,
        token: &Secret,
        (from, again): (IpAddr, bool),
        now: Now,
    ) -> Result<Result<Login, Arc<str>>, Refusal> {
        self.limit_proofs(from, now)?;
        let answer = self.verify(token, again, now);
        if answer.as_ref().is_err_and(|refusal| refusal.reason == weft_govern::login::Reason::Bad) {
            self.proofs_from.count(&from, now.mono);
        }
        answer
    }

    fn verify(&mut self, token: &Secret, again: bool, now: Now) -> Result<Result<Login, Arc<str>>, Refusal> {
        let refuse = |e: crate::TokenError| bad(e.to_string());
        let token = Unverified::read(token.bytes()).map_err(refuse)?;
        let issuer = token.issuer().map_err(refuse)?;
        let names = self.by_issuer.get(issuer).ok_or_else(|| bad("no issuer's document is of its `iss`"))?;
        let mut chosen = None;
        for name in names {
            let Some(believed) = self.issuers.get(name) else { continue };
            if token.is_for(&believed.document.audience).map_err(refuse)? {
                chosen = Some(name.clone());
                break;
            }
        }
        let name = chosen.ok_or_else(|| bad("its `aud` is for somebody else"))?;
        let Some(believed) = self.issuers.get_mut(&name) else { return Err(bad("its issuer is gone")) };
        if !believed.algorithms.contains(&token.algorithm) {
            return Err(bad(format!("issuer `{name}` does not list its signature {:?}", token.algorithm)));
        }
        let leeway = believed.leeway;
        let keys = match believed.keys((token.kid.as_deref(), token.algorithm), again, now.mono, &self.limits) {
            Found::Keys(keys) => keys,
            Found::Wait => return Ok(Err(name)),
            Found::Later(after) => {
                let log = format!("issuer `{name}` has no key of a token's `kid`, and was asked just now");
                return Err(unavailable(after, log));
            }
            Found::Unknown => return Err(bad(format!("issuer `{name}` has no key of its `kid` for its signature"))),
            Found::Unavailable(why) => return Err(unavailable(self.limits.between, why)),
        };
        let claims = token.verify(keys.into_iter()).map_err(refuse)?;
        let seconds = now.wall.0 / 1_000_000_000;
        if claims.expires.saturating_add(leeway) <= seconds {
            let log =
                format!("a token of issuer `{name}` for `{}` was over at {}", shown(claims.subject), claims.expires);
            return Err(expired("the token is over: get a new one", log));
        }
        let latest = seconds.saturating_add(leeway);
        if claims.begins.is_some_and(|begins| begins > latest) || claims.issued.is_some_and(|issued| issued > latest) {
            return Err(bad(format!("a token of issuer `{name}` is of the future: set the clocks")));
        }
        let facts = facts_of(name, &self.issuers, &claims).map_err(bad)?;
        let principal = self.of_token(&facts).map_err(bad)?;
        let end = claims.expires.saturating_add(leeway).saturating_mul(1_000_000_000);
        let proof = Proof::Token(Box::new(facts));
        Ok(Ok(Login { principal: Arc::new(principal), expires: Some(UnixNanos(end)), proof }))
    }

    /// Whom a token stands for whose signature and times were found good.
    fn of_token(&self, facts: &TokenFacts) -> Result<Principal, String> {
        let TokenFacts { issuer, subject, number, issued, tenant, roles } = facts;
        let Some(believed) = self.issuers.get(issuer) else { return Err(format!("issuer `{issuer}` is gone")) };
        let document = &believed.document;
        if number.as_deref().is_some_and(|number| document.revoked.iter().any(|revoked| revoked == number)) {
            return Err(format!("a token of issuer `{issuer}` for `{}` was revoked", shown(subject)));
        }
        // One that does not say when it was issued may be an old one.
        if document.not_before.is_some_and(|least| issued.is_none_or(|issued| issued < least)) {
            return Err(format!("issuer `{issuer}` takes no tokens of before `not_before` any more"));
        }
        let tenant = match (&document.tenant, &document.tenant_claim, tenant) {
            (Some(tenant), _, _) => Some(Arc::from(tenant.as_str())),
            (None, Some(_), Some(said)) if document.tenants.iter().any(|one| **one == **said) => Some(said.clone()),
            (None, Some(claim), said) => {
                let said = said.as_deref().map(shown);
                return Err(format!("`{claim}` of a token of issuer `{issuer}` names no tenant of its list: {said:?}"));
            }
            (None, None, _) => None,
        };
        let has = |role: &Arc<str>| document.roles.get(&**role).map(|role| Arc::from(role.as_str()));
        let mut roles: BTreeSet<Arc<str>> = roles.iter().filter_map(has).collect();
        let name = match self.identities.of_token(issuer, subject)? {
            Some(known) if tenant.is_some() && known.tenant != tenant => {
                return Err(format!("issuer `{issuer}` is not for the tenant of identity `{}`", known.name));
            }
            Some(known) => {
                roles.extend(known.roles.iter().cloned());
                let roles = roles.into_iter().collect();
                return Ok(Principal {
                    tenant: known.tenant.clone(),
                    name: known.name.clone(),
                    roles,
                    method: Method::Token,
                });
            }
            None => format!("{issuer}:{subject}"),
        };
        if self.identities.is_taken(&name) {
            return Err(format!("identity `{name}` does not list this token among its logins"));
        }
        if let Some(tenant) = tenant.as_deref().filter(|tenant| !self.identities.has_tenant(tenant)) {
            return Err(format!("tenant `{}` of a token of issuer `{issuer}` does not exist", shown(tenant)));
        }
        Ok(Principal { tenant, name: name.into(), roles: roles.into_iter().collect(), method: Method::Token })
    }

    /// Whether a login still stands by the state learned last; time is not looked at.
    ///
    /// # Errors
    /// [`Refusal`]: its ground is gone, or it would be somebody else's now.
    pub fn stands(&self, login: &Login) -> Result<(), Refusal> {
        let own = |name: &Arc<str>| match self.identities.is_taken(name) {
            true => Err(format!("there is an identity `{name}` now, which does not list it")),
            false => Ok(by_own_name(name).0),
        };
        let of = |known: Result<Option<&crate::identities::Known>, String>, what: &str| match known? {
            Some(known) => Ok(known.principal(Method::Certificate)),
            None => Err(format!("no identity lists `{what}` any more")),
        };
        let is = match &login.proof {
            Proof::Nothing => return Ok(()),
            // Nothing but the hub's own configuration makes somebody that.
            _ if login.principal.method == Method::Administrator => return Ok(()),
            Proof::Spiffe(uri) => of(self.identities.of_spiffe(uri), uri),
            Proof::Subject(subject) => of(self.identities.of_subject(subject), subject),
            Proof::Own(name) => own(name),
            Proof::Token(facts) => self.of_token(facts),
            Proof::Password(hash) => self.of_password(&login.principal.name, hash),
        };
        let over = |log: String| expired("the identity was changed: log in again", log);
        match is {
            Ok(principal) if principal == *login.principal => Ok(()),
            Ok(_) => Err(over(format!("tenant or roles of `{}` were changed", login.principal))),
            Err(log) => Err(over(log)),
        }
    }

    /// Which keys are to be fetched now; each is told once, until [`Logins::fetched`].
    pub fn fetches(&mut self, now: Mono) -> Vec<Fetch> {
        let limits = &self.limits;
        let due = self.issuers.iter_mut().filter_map(|(issuer, believed)| match &mut believed.source {
            Source::Fetched(fetched) => fetched.begin(now, limits).map(|url| Fetch { issuer: issuer.clone(), url }),
            Source::Fixed(_) => None,
        });
        due.collect()
    }

    /// When some are to be fetched next.
    #[must_use]
    pub fn next_fetch(&self) -> Option<Mono> {
        let next = self.issuers.values().filter_map(|believed| match &believed.source {
            Source::Fetched(fetched) => fetched.next(&self.limits),
            Source::Fixed(_) => None,
        });
        next.min()
    }

    /// What came of a fetch, and for how long its server says that it holds. Answers
    /// how many keys there are now.
    ///
    /// # Errors
    /// What is wrong; the keys from before are kept for [`Limits::kept`].
    pub fn fetched(
        &mut self,
        fetch: &Fetch,
        found: Result<&[u8], String>,
        max_age: Option<Duration>,
        now: Mono,
    ) -> Result<usize, String> {
        match self.issuers.get_mut(&fetch.issuer).map(|believed| &mut believed.source) {
            Some(Source::Fetched(fetched)) if fetched.is_of(&fetch.url) => {
                fetched.came(found, max_age, now, &self.limits)
            }
            // The document was changed meanwhile.
            _ => Ok(0),
        }
    }
}

/// Who has a certificate of the mesh's own authority, and is no identity.
fn by_own_name(own: &str) -> (Principal, Proof) {
    let principal = Principal { tenant: None, name: own.into(), roles: [].into(), method: Method::Certificate };
    (principal, Proof::Own(own.into()))
}

/// What of the claims counts, by the issuer's document.
fn facts_of(name: Arc<str>, issuers: &BTreeMap<Arc<str>, Believed>, claims: &Claims<'_>) -> Result<TokenFacts, String> {
    let Some(document) = issuers.get(&name).map(|believed| &believed.document) else {
        return Err(format!("issuer `{name}` is gone"));
    };
    let one = |claim: &Option<String>| -> Result<Option<Arc<str>>, String> {
        let Some(claim) = claim else { return Ok(None) };
        match claims.all.texts(claim)?.as_slice() {
            [] => Ok(None),
            [one] if one.len() <= MAX_VALUE => Ok(Some((*one).into())),
            _ => Err(format!("`{claim}` names more than one, or a long one")),
        }
    };
    let mut roles: BTreeSet<Arc<str>> = BTreeSet::new();
    if let Some(claim) = &document.roles_claim {
        let known = claims.all.texts(claim)?.into_iter().filter(|role| document.roles.contains_key(*role));
        roles.extend(known.take(MAX_ROLES).map(Arc::from));
    }
    Ok(TokenFacts {
        subject: claims.subject.into(),
        number: claims.number.map(Into::into),
        issued: claims.issued,
        tenant: one(&document.tenant_claim)?,
        roles: roles.into_iter().collect(),
        issuer: name,
    })
}

/// A text from outside, fit for a log.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}
