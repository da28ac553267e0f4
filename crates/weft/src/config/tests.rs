//! Configurations, right and wrong.

use std::time::Duration;

use super::*;
use weft_base::{ByteCount, Clock, SystemClock};
use weft_hub::options::Threads;
use weft_pack::Codec;
use weft_transport::ca::Authority;
use weft_transport::{PeerKind, Security};

const SAMPLE: &str = include_str!("../../../../examples/hub.toml");

fn good(text: &str) -> HubOptions {
    parse(text, Path::new("/etc/weft")).unwrap_or_else(|problems| panic!("{problems:#?}")).hub
}

/// Every mistake as `line:column: message`.
fn mistakes(text: &str) -> Vec<String> {
    let problems = parse(text, Path::new("/etc/weft")).expect_err("it has mistakes");
    let place = |problem: &Problem| {
        let (line, column) = line_column(text, problem.offset);
        format!("{line}:{column}: {}", problem.message)
    };
    problems.iter().map(place).collect()
}

const CLIENTS: &str = "\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n";

#[test]
fn the_documented_sample_is_right_and_shows_the_defaults() {
    let options = good(SAMPLE);
    let defaults = HubOptions::new("new-york");
    assert_eq!(options.limits, defaults.limits, "the sample shows the default limits");
    assert_eq!(options.timers, defaults.timers);
    assert_eq!(options.quic, defaults.quic);
    assert_eq!(options.dns, defaults.dns);
    assert_eq!(options.routing, defaults.routing);
    assert_eq!((options.threads, &options.stages), (defaults.threads, &defaults.stages));
    assert_eq!(options.stream_defaults, defaults.stream_defaults);
    assert_eq!(options.data, Some(PathBuf::from("/etc/weft/data/new-york")));
    assert!(matches!(options.clients[0].security, Security::Plain));
}

#[test]
fn a_name_and_an_address_are_enough() {
    let options = good(&format!("name = \"a\"\n{CLIENTS}"));
    assert_eq!((options.name.as_str(), options.region.as_str()), ("a", "local"));
    assert_eq!(options.threads, Threads::Auto);
}

#[test]
fn what_check_prints_is_a_configuration_that_leads_to_the_same() {
    let text = format!(
        "name = \"a\"\nregion = \"b\"\nlabels = [\"eu\", \"gdpr\"]\ndata = \"/data\"\nthreading = \"dedicated\"\n{CLIENTS}\n\
         [routing]\nloss_weight = 7\nways = 4\n[paths]\nlane0 = 2\npatience = \"1 s\"\n[limits]\nframe = \"2 MiB\"\nsessions = 7\n[streams]\nretain_bytes = 1000\nretain_age = \"36 h\"\n\
         [storage]\nverify = \"512 KiB/s\"\nrepair_pause = \"5 s\"\n[timers]\ndrain = \"90 s\"\n\
         [[residency]]\nfilter = \"eu/**\"\nlabel = \"eu\"\n"
    );
    let options = good(&text);
    assert_eq!(options.limits.frame, ByteCount::mib(2));
    assert_eq!(options.labels, ["eu", "gdpr"]);
    assert_eq!((options.residency[0].filter.as_str(), options.residency[0].label.as_str()), ("eu/**", "eu"));
    assert_eq!((options.routing.weights.rtt, options.routing.weights.loss), (100, 7));
    assert_eq!((options.routing.spreading.ways, options.routing.spreading.within), (4, 25));
    assert_eq!(options.paths.lanes, [2, 1, 1, 1, 1, 1, 1, 1]);
    assert_eq!(options.stream_defaults.retain_bytes, Some(ByteCount(1000)));
    assert_eq!(options.storage.verify, ByteCount::kib(512));
    assert_eq!(options.storage.repair_pause, std::time::Duration::from_secs(5));
    let shown = show(&options);
    assert_eq!(show(&good(&shown)), shown);
    assert!(shown.contains("retain_age = \"36 h\"") && shown.contains("drain = \"90 s\""), "{shown}");
}

#[test]
fn keys_come_from_one_place_and_are_not_shown() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let (file, key) = (folder.path().join("storage.keys"), "9f".repeat(32));
    std::fs::write(&file, &key).expect("a file");
    let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("its mode");
    let read = |storage: &str| {
        parse(&format!("name = \"a\"\n{CLIENTS}\n[storage]\n{storage}\n"), folder.path()).map(|config| config.hub)
    };
    mode(0o600);
    let options = read("key_file = \"storage.keys\"").unwrap_or_else(|problems| panic!("{problems:#?}"));
    let keys = options.storage.keys.as_ref().expect("keys, from beside the configuration");
    let shown = show(&options);
    assert!(shown.contains(&keys.ids()) && !shown.contains(&key) && !format!("{options:?}").contains(&key), "{shown}");
    assert!(show(&read("").expect("none is right")).contains("are not encrypted"));
    let refused = |storage: &str, why: &str| {
        let problems = read(storage).expect_err("it is wrong");
        let [problem] = &problems[..] else { panic!("{problems:#?}") };
        assert!(problem.message.contains(why) && !problem.message.contains(&key), "{}", problem.message);
    };
    refused("key_file = \"storage.keys\"\nkey_env = \"KEYS\"", "not both");
    refused("key_file = \"others.keys\"", "cannot be read");
    refused("key_env = \"WEFT_NO_SUCH_VARIABLE\"", "is not set");
    refused(&format!("key = {key:?}"), "storage.key is not known");
    mode(0o644);
    refused("key_file = \"storage.keys\"", "chmod 600");
}

/// A certificate for the hub `a` in the folder, and the table that names it.
fn tls(folder: &Path) -> String {
    let (now, year) = (SystemClock::new().now().wall, Duration::from_secs(365 * 86_400));
    let authority = Authority::create("test", now, year).expect("an authority");
    let issued = authority.issue(PeerKind::Hub, "a", &["127.0.0.1"], now, year).expect("a certificate");
    let mut table = "[tls]\n".to_owned();
    for (key, text) in [("cert", &issued.certificate[..]), ("key", &issued.key), ("ca", authority.certificate_pem())] {
        let path = folder.join(key);
        std::fs::write(&path, text).expect("a file");
        table += &format!("{key} = {:?}\n", path.display().to_string());
    }
    table
}

#[test]
fn links_are_compressed_as_is_written_and_not_by_default() {
    let folder = tempfile::tempdir().expect("a folder");
    let hubs = |hubs: &str, neighbour: &str| {
        format!(
            "name = \"a\"\n{CLIENTS}[hubs]\nlisten = \"0.0.0.0:1\"\n{hubs}[[neighbours]]\naddr = \"b:1\"\n{neighbour}"
        )
    };
    let (text, tls) = (hubs("", ""), tls(folder.path()));
    let default = good(&format!("{text}{tls}"));
    assert_eq!((&default.packings[..], default.neighbours[0].packing), (&Codec::ALL[..], None));
    let text = hubs("compression = [\"zstd\", \"off\"]\n", "compression = \"lz4\"\n");
    let options = good(&format!("{text}[pick]\ncompression = \"zstd\"\n{tls}"));
    assert_eq!((&options.packings[..], options.neighbours[0].packing), (&[Codec::Zstd][..], Some(Codec::Lz4)));
    assert_eq!((default.pick_packing, options.pick_packing), (None, Some(Codec::Zstd)));
    let shown = show(&options);
    for of in ["[\"zstd\"]", "\"lz4\"", "\"zstd\""] {
        assert!(shown.contains(&format!("\ncompression = {of}\n")), "{of}: {shown}");
    }
    let text = hubs("compression = [\"gzip\"]\n", "compression = \"snappy\"\n[pick]\ncompression = \"lzma\"\n");
    let found = mistakes(&format!("{text}{tls}"));
    let wrong = ["hubs.compression: `gzip`", "neighbours.0.compression: `snappy`", "pick.compression: `lzma`"];
    for what in wrong.map(|what| format!("{what} is not")) {
        assert!(found.iter().any(|mistake| mistake.contains(&what)), "{found:#?}");
    }
}

#[test]
fn links_have_the_connections_that_are_written_one_by_default_and_never_too_many() {
    let folder = tempfile::tempdir().expect("a folder");
    let tls = tls(folder.path());
    let text =
        |addr: &str, more: &str| format!("name = \"a\"\n{CLIENTS}[[neighbours]]\naddr = \"{addr}\"\n{more}\n{tls}");
    let default = good(&text("b:1", ""));
    assert_eq!((default.neighbours[0].connections, default.limits.link_connections), (1, 8));
    let options = good(&text("b:1", "connections = 4\n[limits]\nlink_connections = 2"));
    assert_eq!((options.neighbours[0].connections, options.limits.link_connections), (4, 2));
    let shown = show(&options);
    assert!(shown.contains("\nconnections = 4") && shown.contains("link_connections = 2"), "{shown}");
    for (addr, more, what) in [
        ("b:1", "connections = 0", "0 connections to `b:1`: a link has 1 to 8"),
        ("b:1", "connections = 9", "9 connections to `b:1`: a link has 1 to 8"),
        ("b:1", "connections = 256", "256 is out of range"),
        ("quic:b:1", "connections = 2", "by QUIC a link has a channel for each lane"),
        ("b:1", "[limits]\nlink_connections = 9", "9 is no number of connections of a link"),
    ] {
        let found = mistakes(&text(addr, more));
        assert!(found.iter().any(|mistake| mistake.contains(what)), "{what}: {found:#?}");
    }
}

#[test]
fn addresses_may_be_of_quic_and_its_bounds_are_checked() {
    let refused = |quic: &str, why: &str| {
        let found = mistakes(&format!("name = \"a\"\n{CLIENTS}\n[quic]\n{quic}\n"));
        assert!(found.iter().any(|mistake| mistake.contains(why)), "{found:#?}");
    };
    refused("window = \"1 KiB\"", "quic.window");
    refused("links = 0", "quic.links");
    refused("idle = \"5 s\"\nkeep_alive = \"4 s\"", "quic.keep_alive");
    refused("congestion = \"fast\"", "\"cubic\"");
    let found = mistakes("name = \"a\"\n[hubs]\nlisten = [\"0.0.0.0:1\", \"quic:here\"]\n");
    assert!(found.iter().any(|mistake| mistake.contains("hubs.listen: `quic:here` is not an address")), "{found:#?}");
    let shown = show(&good(&format!("name = \"a\"\n{CLIENTS}[quic]\nwindow = \"1 MiB\"\ncongestion = \"bbr\"\n")));
    assert!(shown.contains("window = \"1 MiB\"\ncongestion = \"bbr\"\nidle = \"15 s\""), "{shown}");
}

#[test]
fn shared_memory_needs_no_certificate_and_its_path_is_beside_the_file() {
    let options = good("name = \"a\"\n[[clients]]\nlisten = \"shm:run/a.sock\"\n");
    assert_eq!(options.clients[0].addr, "shm:/etc/weft/run/a.sock");
    assert!(matches!(options.clients[0].security, Security::Plain));
    let hubs = mistakes("name = \"a\"\n[[clients]]\nlisten = \"shm:\"\nplain = true\n");
    assert!(hubs[0].contains("HOST:PORT"), "{hubs:?}");
    let small = mistakes("name = \"a\"\n[[clients]]\nlisten = \"shm:a\"\n[limits]\nshm_ring = \"1 KiB\"\n");
    assert!(small[0].contains("4096"), "{small:?}");
}

#[test]
fn five_mistakes_are_five_lines_in_order_of_place() {
    let text = "nmae = \"a\"\n\
                region = 5\n\
                threading = \"fast\"\n\
                [[clients]]\n\
                listen = \"7411\"\n\
                plain = true\n\
                [limits]\n\
                frame = \"3 parsecs\"\n\
                sessions = -1\n";
    let found = mistakes(text);
    let expected = [
        ("1:1: name is missing", "add `name = \"new-york\"`"),
        ("1:1: nmae is not known", "did you mean `name`?"),
        ("2:10: region: a text in quotes is needed", "this is a whole number"),
        ("3:13: threading: `fast` is not `\"auto\"` or `\"shared\"` or `\"dedicated\"`", ""),
        ("5:10: clients.0.listen: `7411` is not an address", "write `HOST:PORT`"),
        ("8:9: limits.frame: `3 parsecs` is not a number of bytes", "write for example"),
        ("9:12: limits.sessions: -1 is out of range", "from 0 to"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (line, (place, remedy)) in found.iter().zip(expected) {
        assert!(line.contains(place) && line.contains(remedy), "{line}\nis not: {place} … {remedy}");
    }
}

/// Rules of every kind.
const RULES: &str = "[[mapping]]\nfrom = \"a/*\"\nto = \"b/{1}\"\nrequests = true\n\
                     [[mapping]]\nname = \"some\"\nfrom = \"**\"\nby = \"topic\"\n\
                     to = [{ topic = \"x/{rest}\", weight = 9 }, { drop = true }]\n";

#[test]
fn rules_of_mapping_are_read_and_shown() {
    let options = good(&format!("name = \"a\"\n{CLIENTS}{RULES}"));
    let rules = options.mapping.rules();
    assert_eq!(rules.iter().map(|rule| rule.name()).collect::<Vec<_>>(), ["", "some"]);
    assert_eq!((rules[0].from(), rules[0].maps_requests(), rules[1].maps_requests()), ("a/*", true, false));
    let to: Vec<_> = rules[1].destinations().iter().map(|to| (to.template(), to.weight())).collect();
    assert_eq!(to, [(Some("x/{rest}"), 9), (None, 1)]);
    let shown = show(&options);
    assert_eq!(show(&good(&shown)), shown);
    assert!(shown.contains("by = \"topic\"") && shown.contains("{ drop = true, weight = 1 }"), "{shown}");
}

#[test]
fn mistakes_in_rules_of_mapping_are_told_at_their_place() {
    let text = "name = \"a\"\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n\
                [[mapping]]\nfrom = \"a/**/b\"\nto = \"x\"\n\
                [[mapping]]\nfrom = \"a/*\"\nto = [{ topic = \"x/{1}\" }, { topic = \"x/{2}\" }]\n\
                [[mapping]]\nfrom = \"a/*\"\nto = [{ topic = \"x/{1}\", weight = 0 }]\n\
                [[mapping]]\nfrom = \"a\"\n\
                [[mapping]]\nfrom = \"a\"\nto = [{ weight = 4 }]\nby = \"chance\"\n\
                [[mapping]]\nfrom = \"a\"\nto = []\n\
                [[mapping]]\nfrom = \"a\"\nto = 5\n\
                [[mapping]]\nfrom = \"a/*\"\nto = \"x/{2}\"\n";
    let found = mistakes(text);
    let expected = [
        ("6:8: mapping.0.from: level 2 is a `**`", "end with it"),
        ("10:38: mapping.1.to.1.topic: the capture 2", "`from` has 1"),
        ("13:35: mapping.2.to.0.weight: the weight 0", "take 1 to 1000000"),
        ("14:1: mapping.3.to is missing", "add `to = \"eu/orders/{rest}\"`"),
        ("18:7: mapping.4.to.0.topic: a share has either", "`drop = true`"),
        ("19:6: mapping.4.by: `chance` is not", "`\"producer\"`"),
        // A rule without a destination was left out, and its topics stayed as they were.
        ("22:6: mapping.5.to: 0 destinations", "name 1 to 16"),
        ("25:6: mapping.6.to: tables are needed", "a whole number"),
        ("28:6: mapping.7.to: the capture 2", "`from` has 1"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (line, (place, remedy)) in found.iter().zip(expected) {
        assert!(line.contains(place) && line.contains(remedy), "{line}\nis not: {place} … {remedy}");
    }
    let hidden = mistakes(&format!("name = \"a\"\n{CLIENTS}{RULES}[[mapping]]\nfrom = \"q\"\nto = \"z\"\n"));
    assert!(hidden[0].contains("mapping.2.from") && hidden[0].contains("rule 2, from `**`, comes first"), "{hidden:?}");
    let named = RULES.replace("some", "7");
    let number = mistakes(&format!("name = \"a\"\n{CLIENTS}{named}"));
    assert!(number[0].contains("the name `7`"), "{number:?}");
}

#[test]
fn what_is_out_of_range_or_of_another_kind_says_what_would_do() {
    let of = |key: &str| mistakes(&format!("name = \"a\"\n{CLIENTS}{key}\n")).concat();
    for (key, remedy) in [
        ("[routing]\nloss_weight = -1", "-1 is out of range: take a number from 0 to 4294967295"),
        ("[routing]\nways = 256", "256 is out of range: take a number from 0 to 255"),
        ("[limits]\nsessions = -5", "-5 is out of range: take a number from 0 to 18446744073709551615"),
        (
            "[hubs]\nadvertise = [\"a:1\", 5]",
            "a list of texts such as `[\"a\", \"b\"]` is needed, and in this one is a whole number",
        ),
        ("[[residency]]\nfilter = \"a//b\"\nlabel = \"eu\"", "7:10: residency.0.filter: level 2 of the filter"),
    ] {
        assert!(of(key).contains(remedy), "{key}: {}", of(key));
    }
}

#[test]
fn unknown_keys_are_refused_wherever_they_are() {
    let text = format!(
        "name = \"a\"\ncolour = \"red\"\n{CLIENTS}color = 1\n[limits]\nframes = \"1 MiB\"\n[[neighbours]]\naddr = \"b:1\"\nnam = \"b\"\n"
    );
    let found = mistakes(&text);
    for part in [
        "colour is not known: the keys here are name, labels",
        "clients.0.color is not known",
        "limits.frames is not known: did you mean `frame`?",
        "neighbours.0.nam is not known: did you mean `name`?",
    ] {
        assert!(found.iter().any(|line| line.contains(part)), "{part} is not in {found:#?}");
    }
}

#[test]
fn what_contradicts_the_limits_is_shown_at_its_place() {
    let found = mistakes(&format!("name = \"A B\"\n{CLIENTS}[limits]\nframe = \"16 MiB\"\narena = \"1 MiB\"\n"));
    assert!(found[0].starts_with("1:8: name: `A B` must be 1 to 64 of a-z"), "{found:#?}");
    assert!(found.iter().any(|line| line.starts_with("7:9: limits.frame: 16 MiB is above")), "{found:#?}");
    assert!(found.iter().any(|line| line.starts_with("8:9: limits.arena:")), "{found:#?}");
}

#[test]
fn links_without_a_certificate_are_refused_with_the_remedy() {
    let found = mistakes(
        "name = \"a\"\n[hubs]\nlisten = \"0.0.0.0:1\"\n[[neighbours]]\naddr = \"b:1\"\n[[clients]]\nlisten = \"0.0.0.0:2\"\n",
    );
    assert_eq!(found.iter().filter(|line| line.contains("`[tls]`")).count(), 3, "{found:#?}");
    assert!(found.iter().any(|line| line.contains("weft ca issue hub")), "{found:#?}");
}

#[test]
fn certificates_that_cannot_be_read_are_named() {
    let found = mistakes(&format!("name = \"a\"\n{CLIENTS}[tls]\ncert = \"none.pem\"\nkey = \"none.key\"\n"));
    assert!(found.iter().any(|line| line.contains("tls.ca is missing")), "{found:#?}");
    let found =
        mistakes(&format!("name = \"a\"\n{CLIENTS}[tls]\ncert = \"none.pem\"\nkey = \"none.key\"\nca = \"ca.pem\"\n"));
    assert!(found.iter().any(|line| line.contains("/etc/weft/none.pem")), "{found:#?}");
}

#[test]
fn broken_toml_is_shown_with_its_place() {
    let found = mistakes("name = \"a\nregion = \"b\"\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n");
    assert!(found.iter().any(|line| line.starts_with("1:")), "{found:#?}");
    assert!(mistakes("name = = 1\n").iter().any(|line| line.starts_with("1:8")));
}

#[test]
fn the_wrong_kind_of_value_is_named_for_every_kind() {
    for (text, part) in [
        ("limits = 5", "limits: a table is needed (`[limits]`), and this is a whole number"),
        ("clients = 5", "clients: tables are needed (`[[clients]]`)"),
        ("clients = [1]", "clients: tables are needed"),
        ("timers = { hello = 5 }", "timers.hello: a duration such as `\"5 s\"` is needed, and this is a whole number"),
        ("timers = { hello = \"5 parsecs\" }", "is not a duration"),
        ("limits = { streams = \"many\" }", "limits.streams: a whole number is needed, and this is a text"),
        ("neighbours = [{ addr = \"b:1\", cost = 5000000000 }]", "neighbours.0.cost: 5000000000 is out of range"),
        ("data = 2013-01-01", "data: a text in quotes is needed, and this is a time"),
    ] {
        let found = mistakes(&format!("name = \"a\"\n{text}\n"));
        assert!(found.iter().any(|line| line.contains(part)), "{part} is not in {found:#?}");
    }
}

#[test]
fn no_text_makes_it_panic() {
    let mut random = weft_base::Random::from_seed(5);
    let pieces = [
        "name",
        "=",
        "\"a\"",
        "[limits]",
        "\n",
        "[[clients]]",
        "5",
        "\"\u{fc}\"",
        "{",
        "}",
        "[",
        "]",
        ".",
        "frame",
        "'''",
    ];
    for _ in 0..3_000 {
        let n = 1 + random.below(12) as usize;
        let text: String = (0..n).filter_map(|_| random.pick(&pieces).copied()).collect::<Vec<_>>().join(" ");
        if let Err(problems) = parse(&text, Path::new("")) {
            let lines: Vec<String> = problems.iter().map(|p| line_of(Path::new("f"), &text, p)).collect();
            assert!(!lines.is_empty());
        }
    }
}

#[test]
fn issuing_needs_a_certificate_data_and_the_authoritys_key_for_its_owner_alone() {
    let issue = "[issue]\nlisten = \"127.0.0.1:0\"\nkey = \"ca.key\"\n";
    let found =
        mistakes(&format!("name = \"a\"\n{CLIENTS}{issue}valid_for = \"1 s\"\nconnections = 0\nattempts = 0\n"));
    for part in ["add a table `[tls]`", "add `data", "issue.valid_for", "issue.connections", "issue.attempts"] {
        assert!(found.iter().any(|mistake| mistake.contains(part)), "{part}: {found:#?}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = |file: &str| folder.path().join(file);
    crate::commands::ca::init(folder.path(), "test", 10).expect("an authority");
    crate::commands::ca::issue(folder.path(), folder.path(), weft_transport::PeerKind::Hub, "a", &["::1"], 5)
        .expect("a certificate");
    let tls = "[tls]\ncert = \"a.pem\"\nkey = \"a.key\"\nca = \"ca.pem\"\n";
    let text = format!("name = \"a\"\ndata = \"data\"\n{CLIENTS}{tls}{issue}");
    let read = || parse(&text, folder.path());
    let shown = show_issue(read().expect("it is right").issue.as_ref().expect("it issues"));
    assert!(shown.contains("attempts = 60") && !shown.contains("ca.key"), "{shown}");
    std::fs::set_permissions(path("ca.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("its mode");
    assert!(read().expect_err("others can read it")[0].message.contains("chmod 600"));
    std::fs::copy(path("a.key"), path("ca.key")).expect("another key");
    std::fs::set_permissions(path("ca.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("its mode");
    assert!(read().expect_err("another's").iter().any(|problem| problem.message.contains("belongs to the key")));
}

#[test]
fn names_in_dns_stand_where_hubs_are_dialled_and_nowhere_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let with = |more: &str| format!("name = \"a\"\n{CLIENTS}{more}\n{}", tls(folder.path()));
    for right in ["srv:_weft._tcp.mesh.example", "srv:_hubs._udp.weft", "dns:weft-headless:7412", "dns:quic:weft.:1"] {
        let options = good(&with(&format!(
            "[[neighbours]]\naddr = {right:?}\n[pick]\nseeds = [{right:?}, \"b:1\"]\n[dns]\nservers = [\"::1\", \"10.0.0.1:5353\"]\ntargets = 7\ngone = \"5 min\"\n"
        )));
        assert_eq!(
            (&options.neighbours[0].addr[..], &options.seeds[..]),
            (right, &[right.to_owned(), "b:1".to_owned()][..])
        );
        let servers: Vec<String> = options.dns.servers.iter().map(ToString::to_string).collect();
        assert_eq!((&servers[..], options.dns.targets), (&["[::1]:53".to_owned(), "10.0.0.1:5353".to_owned()][..], 7));
        let shown = show(&options);
        for line in ["servers = [\"[::1]:53\", \"10.0.0.1:5353\"]", "targets = 7", "gone = \"5 min\""] {
            assert!(shown.contains(line), "{shown}");
        }
    }
    for (wrong, what) in [
        (
            "[[neighbours]]\naddr = \"srv:mesh.example\"\n",
            "neighbours.0.addr: `mesh.example` is not the name of a service",
        ),
        ("[[neighbours]]\naddr = \"dns:b:1\"\nname = \"b\"\n", "`dns:b:1` leads to any number of hubs"),
        ("[pick]\nseeds = [\"dns:b\"]\n", "pick.seeds: `b` is not a name of hubs"),
        ("[hubs]\nlisten = \"srv:_weft._tcp.a\"\n", "hubs.listen: `srv:_weft._tcp.a` is not an address"),
        ("[dns]\nservers = [\"ns.example\"]\n", "dns.servers: `ns.example` is not an address"),
        ("[dns]\ntarget = 1\n", "dns.target is not known: did you mean `targets`?"),
        ("[dns]\nleast = \"1 h\"\n", "no more than dns.most"),
        ("[dns]\ntargets = 0\n", "dns.targets"),
    ] {
        let found = mistakes(&with(wrong));
        assert!(found.iter().any(|mistake| mistake.contains(what)), "{wrong}: {found:#?}");
    }
}

#[test]
fn a_program_without_the_fips_module_does_not_start_where_it_is_wanted() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!("name = \"a\"\n{CLIENTS}{}fips = true\n", tls(folder.path()));
    match parse(&text, folder.path()) {
        Ok(_) => assert!(weft_transport::is_fips()),
        Err(found) => assert!(found[0].message.contains("--features fips") && !weft_transport::is_fips(), "{found:?}"),
    }
}
