//! What tenants and identities may use at each hub, as the state says, for the
//! stages that count it. Made anew with each state by the judge stage.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_govern::document::{Identity, Quota, Tenant};
use weft_govern::{Kind, State};
use weft_topic::Filter;

/// Who may use so much.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Owner {
    /// All of a tenant together.
    Tenant(Arc<str>),
    /// One identity, by its name in the state.
    Identity(Arc<str>),
}

/// The quotas in force: of who has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quotas {
    of: BTreeMap<Owner, Quota>,
    /// The topics of tenants whose storage is limited.
    topics: BTreeMap<Arc<str>, Vec<Filter>>,
}

impl Quotas {
    /// Those of a state. A document that cannot be read limits nothing: the judge
    /// says of it that it is a fault, and forbids what it speaks of.
    pub(crate) fn of(state: &State) -> Self {
        let mut all = Self::default();
        for (key, item) in state.of_kind(Kind::Tenant) {
            let Ok(tenant) = serde_json::from_str::<Tenant>(&item.document) else { continue };
            let name: Arc<str> = key.name().into();
            if tenant.quota.storage_bytes.is_some() {
                let topics = tenant.topics.iter().filter_map(|topics| Filter::parse(topics).ok());
                all.topics.insert(name.clone(), topics.collect());
            }
            if !tenant.quota.is_empty() {
                all.of.insert(Owner::Tenant(name), tenant.quota);
            }
        }
        for (key, item) in state.of_kind(Kind::Identity) {
            let Ok(identity) = serde_json::from_str::<Identity>(&item.document) else { continue };
            if !identity.quota.is_empty() {
                all.of.insert(Owner::Identity(key.name().into()), identity.quota);
            }
        }
        all
    }

    /// All of them, in order of who has them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Owner, &Quota)> {
        self.of.iter()
    }

    /// What somebody may use, if that is limited.
    #[cfg(test)]
    fn get(&self, owner: &Owner) -> Option<&Quota> {
        self.of.get(owner)
    }

    /// Whether the storage of any tenant is limited.
    pub(crate) fn limit_storage(&self) -> bool {
        !self.topics.is_empty()
    }

    /// The tenant whose storage is limited and whose a stream is, with how much it
    /// may store: the one that the stream names, or where it names none, the one to
    /// which all that its filters capture belongs.
    pub(crate) fn storage_of<'a>(
        &self,
        named: &str,
        filters: impl Iterator<Item = &'a Filter> + Clone,
    ) -> Option<(&Arc<str>, u64)> {
        let owns = |topics: &[Filter]| filters.clone().all(|filter| topics.iter().any(|owned| owned.includes(filter)));
        let tenant = if named.is_empty() {
            filters.clone().next()?;
            self.topics.iter().find(|(_, topics)| owns(topics))?.0
        } else {
            self.topics.get_key_value(named)?.0
        };
        let bytes = self.of.get(&Owner::Tenant(tenant.clone()))?.storage_bytes?;
        Some((tenant, bytes))
    }
}

#[cfg(test)]
mod tests {
    use weft_govern::Key;

    use super::*;

    #[test]
    fn quotas_are_read_and_a_stream_belongs_to_the_tenant_that_owns_all_it_captures() {
        let key = |kind, name| Key::new(kind, name).expect("a name");
        let state = State::default().with(
            [
                (key(Kind::Tenant, "a"), r#"{"topics":["a/**"],"quota":{"storage_bytes":7}}"#.into()),
                (key(Kind::Tenant, "b"), r#"{"topics":["b/**"],"quota":{"connections":1}}"#.into()),
                (key(Kind::Tenant, "c"), r#"{"topics":["c/**"]}"#.into()),
                (key(Kind::Tenant, "d"), "nonsense".into()),
                (key(Kind::Identity, "me"), r#"{"tenant":"a","quota":{"publish_events":3}}"#.into()),
            ],
            &[],
        );
        let quotas = Quotas::of(&state);
        assert_eq!(quotas.of.len(), 3);
        assert_eq!(quotas.get(&Owner::Identity("me".into())).and_then(|quota| quota.publish_events), Some(3));
        let owner = |named: &str, filters: &[&str]| {
            let filters: Vec<_> = filters.iter().map(|filter| Filter::parse(filter).expect("a filter")).collect();
            quotas.storage_of(named, filters.iter()).map(|(tenant, bytes)| (tenant.to_string(), bytes))
        };
        assert_eq!(owner("", &["a/x", "a/y/**"]), Some(("a".to_owned(), 7)));
        for filters in [&["a/x", "b/x"][..], &["b/**"], &[], &["**"]] {
            assert_eq!(owner("", filters), None);
        }
        assert_eq!(owner("a", &["b/**"]), Some(("a".to_owned(), 7)), "the stream itself says whose it is");
        assert_eq!([owner("b", &["a/x"]), owner("none", &["a/x"])], [None, None]);
    }
}
