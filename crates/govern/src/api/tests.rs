//! Bodies are read as they were written, hostile ones are refused, and pages
//! together are the whole.

use proptest::prelude::*;
use weft_base::UnixNanos;

use super::*;
use crate::access::{Action, Method};

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

fn state(items: &[(&str, usize)]) -> State {
    let document = |bytes: usize| format!("{{\"description\":\"{}\"}}", "\"".repeat(bytes)).into();
    State::default().with(items.iter().map(|(name, bytes)| (key(name), document(*bytes))), &[])
}

#[test]
fn requests_and_answers_are_read_as_they_were_written() {
    let apply = Apply {
        id: ChangeId(u128::MAX),
        puts: vec![(key("tenant/a"), "{}".into())],
        deletes: vec![key("policy/p")],
        prune: Some(Prune { kinds: vec![Kind::Policy], tenant: Some("a".to_owned()) }),
        expects: vec![Expect { key: key("policy/p"), version: Some(3) }],
        dry_run: true,
    };
    let explain = Explain {
        who: Some(Who::Identity("ann".to_owned())),
        action: Action::Publish,
        resource: Named::Topic("a/**".to_owned()),
        lane: Some(1),
        at: At { hub: Some("h1".to_owned()), labels: Some(vec!["pci".to_owned()]), ..At::default() },
    };
    let can = |whom| AskCan { whom, action: Action::Subscribe, topics: "a/**".to_owned() };
    let requests = [
        Request::Apply(apply),
        Request::Export(Export { after: Some(key("tenant/a")), version: Some(4), ..Export::default() }),
        Request::Show(Show { fresh: true }),
        Request::Explain(explain),
        Request::Can(can(Whom::Tenant("a".to_owned()))),
        Request::Can(can(Whom::Role { tenant: None, role: "r".to_owned() })),
        Request::Can(can(Whom::Somebody(Who::Identity("ann".to_owned())))),
        Request::Whoami,
        Request::Voters(Voters { voters: vec!["h1".to_owned()] }),
    ];
    for request in requests {
        assert_eq!(Request::decode(&request.encode().unwrap()), Ok(request));
    }
    let author = Authored { author: "a/ann".into(), at: UnixNanos(u64::MAX) };
    let principal =
        Principal { tenant: None, name: "ann".into(), roles: ["r".into()].into(), method: Method::Certificate };
    let answers = [
        Answer::Applied(Applied {
            version: 1,
            counts: Counts { created: 1, ..Counts::default() },
            shown: "+ tenant/a\n".to_owned(),
            repeated: false,
            dry_run: true,
        }),
        Answer::Shown(Shown {
            last: Some(author.clone()),
            stopped: Some("the disk fails".to_owned()),
            voters: vec![Member { hub: "h1".to_owned(), lag: Some(0) }],
            ..Shown::default()
        }),
        Answer::Explained(Explained { steps: vec![ExplainedStep::default()], ..Explained::default() }),
        Answer::You(You { principal, is_administrator: true, hub: "h1".to_owned(), version: 9 }),
        Answer::Refused(Refusal::Conflict { key: key("tenant/a"), expected: None, found: Some(2), by: Some(author) }),
        Answer::Refused(Refusal::of_faults(vec![
            Fault { key: "tenant/a".to_owned(), what: "x".repeat(10_000) };
            2 * MAX_FAULTS
        ])),
        Answer::Refused(Refusal::LockedOut { why: "you".to_owned() }),
    ];
    for answer in answers {
        assert_eq!(Answer::decode(&answer.encode().unwrap()), Ok(answer));
    }
}

#[test]
fn what_is_not_known_is_refused() {
    let deep = format!("{{\"export\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let hostile = [
        "",
        "null",
        "{}",
        "\"whoami \"",
        "{\"reign\":{}}",
        "{\"export\":{\"kinds\":[\"landlord\"]}}",
        "{\"export\":{\"kind\":[]}}",
        "{\"export\":{\"after\":\"tenant/a b\"}}",
        "{\"apply\":{}}",
        "{\"apply\":{\"id\":\"1\"}}",
        "{\"apply\":{\"id\":\"00000000000000000000000000000001\",\"force\":true}}",
        "{\"explain\":{\"action\":\"own\",\"resource\":\"mesh\"}}",
        &deep,
    ];
    for body in hostile {
        assert!(matches!(Request::decode(body.as_bytes()), Err(BodyError::Unreadable(_))), "{body}");
    }
    assert!(matches!(Request::decode(b"\"\xff\""), Err(BodyError::Unreadable(_))));
    assert_eq!(Request::decode(&vec![b' '; MAX_BODY + 1]), Err(BodyError::TooLarge(MAX_BODY + 1)));
    let id = ChangeId(1);
    let large = Apply {
        id,
        puts: vec![(key("policy/p"), "x".repeat(MAX_BODY).into())],
        deletes: Vec::new(),
        prune: None,
        expects: Vec::new(),
        dry_run: false,
    };
    assert!(matches!(Request::Apply(large).encode(), Err(BodyError::TooLarge(_))));
    let short = Request::decode(b"{\"apply\":{\"id\":\"00000000000000000000000000000001\"}}").unwrap();
    assert!(short.changes() && !short.is_local());
}

#[test]
fn the_largest_documents_fit_in_a_page_each() {
    let state = state(&[("policy/a", 131_000), ("policy/b", 131_000), ("policy/c", 1)]);
    let mut asked = Export::default();
    let mut pages = Vec::new();
    loop {
        let page = export(&state, &asked, |_, _| true).unwrap();
        assert!(Answer::Exported(page.clone()).encode().is_ok());
        pages.push(page.items.len());
        asked = Export { after: page.next, version: Some(page.version), ..Export::default() };
        if asked.after.is_none() {
            break;
        }
    }
    assert_eq!(pages.iter().sum::<usize>(), 3);
    let other = Export { version: Some(7), ..Export::default() };
    assert_eq!(export(&state, &other, |_, _| true), Err(Refusal::Moved { version: 1 }));
}

#[test]
fn an_export_has_what_is_asked_for_and_may_be_seen() {
    let put = |name: &str, document: &str| (key(name), Arc::from(document));
    let state = State::default().with(
        [
            put("tenant/a", r#"{"topics":["a/**"]}"#),
            put("tenant/b", r#"{"topics":["b/**"]}"#),
            put("policy/a", r#"{"rules":"","tenant":"a"}"#),
            put("policy/mesh", r#"{"rules":""}"#),
            put("schema/1", "{}"),
        ],
        &[],
    );
    let names = |asked: &Export, may_see: &dyn Fn(&Key, &str) -> bool| -> Vec<String> {
        export(&state, asked, may_see).unwrap().items.iter().map(|(key, _, _)| key.to_string()).collect()
    };
    let of_a = Export { tenant: Some("a".to_owned()), ..Export::default() };
    assert_eq!(names(&of_a, &|_, _| true), ["tenant/a", "policy/a"]);
    let policies = Export { kinds: vec![Kind::Policy], ..Export::default() };
    assert_eq!(names(&policies, &|_, _| true), ["policy/a", "policy/mesh"]);
    assert_eq!(names(&Export::default(), &|key, _| key.kind() == Kind::Tenant), ["tenant/a", "tenant/b"]);
}

proptest! {
    #[test]
    fn pages_together_are_the_whole(sizes in prop::collection::vec(0..60_000_usize, 0..20)) {
        let names: Vec<_> = (0..sizes.len()).map(|number| format!("policy/n{number}")).collect();
        let items: Vec<_> = names.iter().map(String::as_str).zip(sizes).collect();
        let state = state(&items);
        let mut asked = Export::default();
        let mut all = Vec::new();
        loop {
            let page = export(&state, &asked, |_, _| true).unwrap();
            prop_assert!(Answer::Exported(page.clone()).encode().is_ok());
            all.extend(page.items);
            asked.after = page.next;
            if asked.after.is_none() {
                break;
            }
        }
        let whole: Vec<_> = state.items().map(|(key, item)| (key.clone(), item.version, item.document.clone())).collect();
        prop_assert_eq!(all, whole);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Request::decode(&bytes).is_err() || !bytes.is_empty());
        prop_assert!(Answer::decode(&bytes).is_err() || !bytes.is_empty());
    }
}

#[test]
fn an_identity_is_who_logs_in_as_it_and_one_that_is_disabled_is_nobody() {
    let put = |name: &str, text: &str| (key(&format!("identity/{name}")), Arc::from(text));
    let ann = r#"{"tenant":"a","roles":["z","r","r"],"logins":[{"password":"$argon2id$x"}]}"#;
    let state = State::default().with([put("ann", ann), put("bob", r#"{"disabled":true}"#)], &[]);
    let who = |name: &str| Who::Identity(name.to_owned()).resolve(&state);
    let found = who("ann").unwrap();
    assert_eq!((found.to_string().as_str(), found.method), ("a/ann", Method::Password));
    assert_eq!(found.roles.iter().map(|role| &**role).collect::<Vec<_>>(), ["r", "z"]);
    assert!(who("bob").unwrap_err().contains("disabled"));
    assert!(who("eve").unwrap_err().contains("no identity/eve"));
    assert!(Named::Topic("a//b".to_owned()).resource(|_| Arc::default()).is_err());
}

#[test]
fn where_and_when_is_here_and_now_but_for_what_is_said() {
    use crate::access::Place;
    let here = Place { hub: "h1".into(), region: "eu".into(), labels: ["b".into()].into() };
    assert_eq!(At::default().of(&here, UnixNanos(7)), (here.clone(), UnixNanos(7)));
    let at = At {
        region: Some("us".to_owned()),
        labels: Some(vec!["z".to_owned(), "a".to_owned()]),
        seconds: Some(2),
        hub: None,
    };
    let (there, then) = at.of(&here, UnixNanos(7));
    assert_eq!((&*there.hub, &*there.region, then), ("h1", "us", UnixNanos(2_000_000_000)));
    assert_eq!(there.labels.iter().map(|label| &**label).collect::<Vec<_>>(), ["a", "z"]);
}
