//! The fence against a plain reading of its rules, topic by topic, and what it
//! says to those whom it does not let through.

use proptest::prelude::*;
use weft_topic::Topic;

use super::*;

fn filter(text: &str) -> Filter {
    Filter::parse(text).unwrap()
}

fn state(documents: &[(&str, &str)]) -> State {
    State::default().with(documents.iter().map(|(key, text)| (Key::parse(key).unwrap(), Arc::from(*text))), &[])
}

fn shop() -> Fence {
    let state = state(&[
        ("tenant/sales", r#"{"topics":["orders/**","*/offers/*"]}"#),
        ("tenant/billing", r#"{"topics":["invoices/**"]}"#),
        ("tenant/idle", r#"{"topics":[]}"#),
        ("export/orders", r#"{"tenant":"sales","topics":"orders/eu/**","to":["billing"],"actions":["subscribe"]}"#),
        ("import/orders", r#"{"tenant":"billing","from":"sales","topics":"orders/**"}"#),
        ("export/open", r#"{"tenant":"sales","topics":"orders/open","actions":["subscribe","consume"]}"#),
        ("import/early", r#"{"tenant":"idle","from":"billing","topics":"invoices/**"}"#),
    ]);
    let (fence, faults) = Fence::learn(&state);
    assert_eq!(faults, []);
    fence
}

#[test]
fn a_tenant_uses_what_it_owns_and_what_is_exported_to_it_and_imported() {
    let fence = shop();
    let allows = |tenant, action, asked: &str| fence.allows(tenant, action, &filter(asked)).is_ok();
    let (sales, billing) = (Some("sales"), Some("billing"));
    assert!(allows(sales, Action::Publish, "orders/eu/1") && allows(sales, Action::Subscribe, "orders/**"));
    assert!(allows(sales, Action::Reply, "x/offers/*") && allows(billing, Action::Consume, "invoices"));
    assert!(allows(billing, Action::Subscribe, "orders/eu/**") && allows(billing, Action::Subscribe, "orders/eu/*"));
    assert!(allows(billing, Action::Subscribe, "orders/open") && allows(billing, Action::Consume, "orders/open"));
    assert!(!allows(billing, Action::Publish, "orders/eu/1") && !allows(billing, Action::Consume, "orders/eu/1"));
    assert!(!allows(billing, Action::Subscribe, "orders/us/1") && !allows(billing, Action::Subscribe, "orders/**"));
    assert!(!allows(Some("idle"), Action::Subscribe, "orders/open"));
    assert!(!allows(Some("stranger"), Action::Subscribe, "orders/open"));
    // Somebody of no tenant is before no fence.
    assert!(allows(None, Action::Publish, "orders/eu/1") && allows(None, Action::Publish, "nobody"));
    assert!(allows(None, Action::Observe, "_weft/x") && !allows(sales, Action::Subscribe, "_weft/**"));
    assert!(fence.allows_some(billing, Action::Subscribe, &filter("**")));
    assert!(!fence.allows_some(billing, Action::Publish, &filter("orders/**")));
    assert_eq!(fence.owner(&filter("orders/*")).map(|owner| &**owner), Some("sales"));
    assert_eq!(fence.topics().count(), 3);
}

#[test]
fn who_is_not_let_through_is_told_the_owner_and_what_is_missing() {
    let fence = shop();
    let told =
        |tenant, action, asked: &str| fence.allows(Some(tenant), action, &filter(asked)).unwrap_err().to_string();
    let cases = [
        (
            "billing",
            Action::Publish,
            "orders/eu/1",
            "`orders/eu/1` is of tenant `sales`, which does not export it for `publish`: ask there for that action",
        ),
        (
            "billing",
            Action::Subscribe,
            "orders/us/1",
            "`orders/us/1` is of tenant `sales`, which exports it to nobody here: ask there for an export",
        ),
        (
            "idle",
            Action::Subscribe,
            "orders/open",
            "`orders/open` is of tenant `sales`, which exports it: add an import of `orders/open`",
        ),
        (
            "idle",
            Action::Subscribe,
            "a/offers/1",
            "`a/offers/1` is of tenant `sales`: ask there for an export, and add an import",
        ),
        (
            "billing",
            Action::Subscribe,
            "**",
            "`**` is wider than what may be used: ask for `invoices/**` or `orders/open` or `orders/eu/**`",
        ),
        (
            "billing",
            Action::Subscribe,
            "orders/*/x",
            "`orders/*/x` is of tenant `sales`, which exports it to nobody here: ask there for an export",
        ),
        (
            "idle",
            Action::Subscribe,
            "*/offers/**",
            "`*/offers/**` is partly of tenant `sales`: ask there for an export, and add an import",
        ),
        (
            "idle",
            Action::Publish,
            "free/1",
            "no tenant owns `free/1`: add it to the topics of the tenant, or use one that it owns",
        ),
        (
            "sales",
            Action::Publish,
            "_reply/h/1",
            "`_reply/h/1` is reserved (`_` in front): take a topic that the tenant owns",
        ),
    ];
    for (tenant, action, asked, words) in cases {
        assert_eq!(told(tenant, action, asked), words);
    }
}

#[test]
fn what_cannot_be_understood_is_told_and_opens_nothing() {
    let state = state(&[
        ("tenant/a", r#"{"topics":["a/**"]}"#),
        ("tenant/b", r#"{"topics":["b/","c"]}"#),
        ("tenant/c", r#"{"topics":["**/c"]}"#),
        ("tenant/d", r#"{"topics":["_weft/**"]}"#),
        ("tenant/e", "[]"),
        ("export/a", r#"{"tenant":"a","topics":"a//","actions":["subscribe"]}"#),
        ("import/a", r#"{"tenant":"b"}"#),
    ]);
    let (fence, faults) = Fence::learn(&state);
    let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(keys, ["tenant/b", "tenant/c", "tenant/d", "tenant/e", "export/a", "import/a"]);
    for (tenant, topic) in [("b", "c"), ("c", "x/c"), ("d", "_weft/x"), ("b", "a/x")] {
        assert!(fence.allows(Some(tenant), Action::Subscribe, &filter(topic)).is_err(), "{topic}");
    }
    assert!(fence.allows(Some("a"), Action::Subscribe, &filter("a/x")).is_ok());
}

/// All topics of up to three levels of two names.
fn topics() -> Vec<String> {
    let names = ["a", "b"];
    let one: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let longer = |topics: &[String]| -> Vec<String> {
        topics.iter().flat_map(|topic| names.iter().map(move |name| format!("{topic}/{name}"))).collect()
    };
    let two = longer(&one);
    let three = longer(&two);
    [one, two, three].concat()
}

const ACTIONS: [Action; 2] = [Action::Publish, Action::Subscribe];

/// One world: owners' filters, exports (owner, filter, to, action), imports (user, owner, filter).
#[derive(Debug, Clone)]
struct World {
    owned: Vec<Vec<Filter>>,
    exports: Vec<(usize, Filter, Option<usize>, Action)>,
    imports: Vec<(usize, usize, Filter)>,
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let level = prop::sample::select(vec!["a", "b", "*", "**"]);
    prop::collection::vec(level, 1..4).prop_map(|levels| filter(&levels.join("/")))
}

fn world() -> impl Strategy<Value = World> {
    let owned = prop::collection::vec((0..3_usize, any_filter()), 0..8);
    let exports = prop::collection::vec((any_filter(), prop::option::of(0..3_usize), 0..2_usize), 0..8);
    let imports = prop::collection::vec((0..3_usize, 0..3_usize, any_filter()), 0..8);
    (owned, exports, imports).prop_map(|(wanted, exports, imports)| {
        let mut owned: Vec<Vec<Filter>> = vec![Vec::new(); 3];
        for (tenant, filter) in wanted {
            let others = owned.iter().enumerate().filter(|(other, _)| *other != tenant);
            let apart = !others.flat_map(|(_, filters)| filters).any(|other| other.intersects(&filter));
            if apart && is_ownable(&filter) {
                owned[tenant].push(filter);
            }
        }
        let owner = |filter: &Filter| owned.iter().position(|all| all.iter().any(|one| one.includes(filter)));
        let exports = exports.into_iter().filter_map(|(f, to, action)| Some((owner(&f)?, f, to, ACTIONS[action])));
        World { exports: exports.collect(), imports, owned }
    })
}

impl World {
    fn state(&self) -> State {
        let json = |value: serde_json::Value| Arc::from(crate::json::canonical(&value));
        let mut documents = Vec::new();
        for (tenant, filters) in self.owned.iter().enumerate() {
            let topics: Vec<_> = filters.iter().map(Filter::as_str).collect();
            documents.push((format!("tenant/{tenant}"), json(serde_json::json!({ "topics": topics }))));
        }
        for (number, (tenant, filter, to, action)) in self.exports.iter().enumerate() {
            let to: Vec<_> = to.iter().map(ToString::to_string).collect();
            let export = serde_json::json!({
                "tenant": tenant.to_string(), "topics": filter.as_str(), "to": to, "actions": [action.name()],
            });
            documents.push((format!("export/{number}"), json(export)));
        }
        for (number, (tenant, from, filter)) in self.imports.iter().enumerate() {
            let import = serde_json::json!({ "tenant": tenant.to_string(), "from": from.to_string(), "topics": filter.as_str() });
            documents.push((format!("import/{number}"), json(import)));
        }
        State::default().with(documents.into_iter().map(|(key, text)| (Key::parse(&key).unwrap(), text)), &[])
    }

    /// By the words of the rule, of one topic.
    fn may(&self, tenant: usize, action: Action, topic: &str) -> bool {
        let topic = Topic::parse(topic).unwrap();
        let Some(owner) = self.owned.iter().position(|all| all.iter().any(|filter| filter.matches(topic))) else {
            return false;
        };
        let exported = self.exports.iter().any(|(from, filter, to, of)| {
            *from == owner && filter.matches(topic) && to.is_none_or(|to| to == tenant) && *of == action
        });
        let imported = self.imports.iter().any(|(to, from, f)| *to == tenant && *from == owner && f.matches(topic));
        owner == tenant || exported && imported
    }

    /// By the words of the rule, of a filter: one of the filters has it all.
    fn may_all(&self, tenant: usize, action: Action, asked: &Filter) -> bool {
        let owns = self.owned[tenant].iter().any(|filter| filter.includes(asked));
        let opened = self.exports.iter().any(|(owner, export, to, of)| {
            let is_open = export.includes(asked) && to.is_none_or(|to| to == tenant) && *of == action;
            let imports = |(user, from, import): &(usize, usize, Filter)| {
                *user == tenant && from == owner && import.includes(asked)
            };
            is_open && self.imports.iter().any(imports)
        });
        owns || opened
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(384))]
    #[test]
    fn it_lets_through_what_a_plain_reading_of_the_rules_does(world in world(), asked in prop::collection::vec(any_filter(), 1..6)) {
        let (fence, faults) = Fence::learn(&world.state());
        prop_assert_eq!(faults, vec![]);
        let topics = topics();
        for tenant in 0..3 {
            let name = tenant.to_string();
            for action in ACTIONS {
                for topic in &topics {
                    let through = fence.allows(Some(&name), action, &filter(topic)).is_ok();
                    prop_assert_eq!(through, world.may(tenant, action, topic), "{} {:?} {}", tenant, action, topic);
                }
                for asked in &asked {
                    let through = fence.allows(Some(&name), action, asked);
                    prop_assert_eq!(through.is_ok(), world.may_all(tenant, action, asked), "{} {}: {:?}", tenant, asked, through);
                    let matched = topics.iter().filter(|topic| asked.matches(Topic::parse(topic).unwrap()));
                    let some = matched.clone().any(|topic| world.may(tenant, action, topic));
                    prop_assert!(through.is_err() || matched.clone().all(|topic| world.may(tenant, action, topic)));
                    prop_assert!(!some || fence.allows_some(Some(&name), action, asked));
                    // What is named instead may be asked for.
                    if let Err(FenceReason::TooWide { allowed, .. }) = &through {
                        prop_assert!(allowed.iter().all(|filter| filter.intersects(asked)));
                    }
                }
            }
        }
    }
}

#[test]
fn a_thousand_tenants_are_learned_and_each_is_asked_in_few_steps() {
    let mut documents = Vec::new();
    for tenant in 0..1_000 {
        let topics: Vec<_> = (0..8).map(|number| format!("\"mesh/t{tenant}/{number}/**\"")).collect();
        documents.push((format!("tenant/t{tenant}"), format!("{{\"topics\":[{}]}}", topics.join(","))));
        let export = format!(r#"{{"tenant":"t{tenant}","topics":"mesh/t{tenant}/0/**","actions":["subscribe"]}}"#);
        documents.push((format!("export/t{tenant}"), export));
        let from = (tenant + 1) % 1_000;
        let import = format!(r#"{{"tenant":"t{tenant}","from":"t{from}","topics":"mesh/t{from}/**"}}"#);
        documents.push((format!("import/t{tenant}"), import));
    }
    let documents: Vec<_> = documents.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
    let (fence, faults) = Fence::learn(&state(&documents));
    assert_eq!(faults, []);
    for tenant in 0..1_000 {
        let name = format!("t{tenant}");
        let (own, next) = (format!("mesh/t{tenant}/7/x"), format!("mesh/t{}/0/x", (tenant + 1) % 1_000));
        assert!(fence.allows(Some(&name), Action::Publish, &filter(&own)).is_ok());
        assert!(fence.allows(Some(&name), Action::Subscribe, &filter(&next)).is_ok());
        assert!(matches!(
            fence.allows(Some(&name), Action::Publish, &filter(&next)),
            Err(FenceReason::Foreign { missing: Missing::Action(Action::Publish), .. })
        ));
    }
    assert!(fence.allows(Some("t0"), Action::Publish, &filter("**")).is_err());
}

#[test]
fn a_tenant_reads_its_own_quarantine_and_nothing_else_of_what_is_reserved() {
    let state = State::default().with(
        [("a", "a/**"), ("b", "b/**")].map(|(name, topics)| {
            let document = format!(r#"{{"topics":["{topics}"]}}"#);
            (Key::new(Kind::Tenant, name).expect("a name"), Arc::<str>::from(document))
        }),
        &[],
    );
    let (fence, faults) = Fence::learn(&state);
    assert!(faults.is_empty());
    let filter = |text: &str| Filter::parse(text).expect("a filter");
    let may = |action, text| fence.allows(Some("a"), action, &filter(text)).is_ok();
    for action in [Action::Consume, Action::Subscribe, Action::Observe] {
        assert!(may(action, "_quarantine/a/aside") && may(action, "_quarantine/a/**"));
        for other in [
            "_quarantine/b/aside",
            "_quarantine/*/aside",
            "_quarantine/**",
            "_quarantine/a",
            "_quarantine/aside",
            "_audit/a/x",
        ] {
            assert!(!may(action, other), "{other}");
        }
        assert!(fence.allows_some(Some("a"), action, &filter("_quarantine/**")));
        assert!(!fence.allows_some(Some("a"), action, &filter("_quarantine/b/**")));
    }
    for action in [Action::Publish, Action::Administer, Action::Request, Action::Reply] {
        assert!(!may(action, "_quarantine/a/aside"), "{action:?}");
        assert!(!fence.allows_some(Some("a"), action, &filter("_quarantine/a/**")));
    }
}
