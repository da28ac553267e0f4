//! The effective values of a configuration, as a configuration: what
//! `weft hub --check` prints.

use std::fmt::Write;

use weft_hub::options::{Limits, Location, StageBounds, Threads};
use weft_hub::{HubOptions, budget};
use weft_pack::Codec;
use weft_transport::{QuicOptions, Security};

use super::read::{CONGESTION, LANES, LOAD_POLICIES};
use crate::time::show_duration;

/// All values, also those that are defaults. Secrets and certificates are not
/// in it, only whether there are some.
pub(crate) fn show(options: &HubOptions) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write(options, &mut out);
    out
}

fn write(o: &HubOptions, out: &mut String) -> std::fmt::Result {
    let threading = match o.threads {
        Threads::Auto => "auto",
        Threads::Shared => "shared",
        Threads::Dedicated => "dedicated",
    };
    writeln!(out, "name = {:?}\nmesh = {:?}\nregion = {:?}", o.name, o.mesh, o.region)?;
    if let Some([latitude, longitude]) = o.location.map(Location::degrees) {
        writeln!(out, "location = [{latitude:?}, {longitude:?}]")?;
    }
    if !o.labels.is_empty() {
        writeln!(out, "labels = {:?}", o.labels)?;
    }
    if !o.admins.is_empty() {
        writeln!(out, "admins = {:?}", o.admins)?;
    }
    if !o.advertise_clients.is_empty() {
        writeln!(out, "advertise_clients = {:?}", o.advertise_clients)?;
    }
    match o.drain_on_stop {
        Some(time) => writeln!(out, "drain_on_stop = \"{}\"", show_duration(time))?,
        None => writeln!(out, "# drain_on_stop: clients are closed at once")?,
    }
    if let Some(data) = &o.data {
        writeln!(out, "data = {:?}", data.display().to_string())?;
    }
    writeln!(out, "threading = {threading:?}")?;
    if let Some(threads) = o.admit_threads {
        writeln!(out, "admit_threads = {threads}")?;
    }
    if let Some(Security::Tls(identity)) = &o.link_security {
        writeln!(out, "# tls: the certificate is for {} `{}`", identity.me().kind, identity.me().name)?;
    }
    for listen in &o.clients {
        writeln!(out, "\n[[clients]]\nlisten = {:?}", listen.addr)?;
        writeln!(out, "plain = {}", matches!(listen.security, Security::Plain))?;
    }
    if let Some(hubs) = &o.hubs {
        match o.hubs_also.as_slice() {
            [] => writeln!(out, "\n[hubs]\nlisten = {:?}", hubs.addr)?,
            also => writeln!(out, "\n[hubs]\nlisten = {:?}", [std::slice::from_ref(&hubs.addr), also].concat())?,
        }
        writeln!(out, "compression = {:?}", o.packings.iter().map(|codec| codec.name()).collect::<Vec<_>>())?;
    }
    if !o.advertise.is_empty() {
        writeln!(out, "advertise = {:?}", o.advertise)?;
    }
    for neighbour in &o.neighbours {
        writeln!(out, "\n[[neighbours]]\naddr = {:?}", neighbour.addr)?;
        if let Some(name) = &neighbour.name {
            writeln!(out, "name = {name:?}")?;
        }
        writeln!(out, "cost = {}\nprice_per_gb = {}", neighbour.cost, neighbour.price_per_gb)?;
        writeln!(out, "compression = {:?}", neighbour.packing.map_or("off", Codec::name))?;
        writeln!(out, "connections = {}", neighbour.connections)?;
    }
    if let Some(pick) = &o.pick {
        writeln!(out, "\n[pick]\nseeds = {:?}", o.seeds)?;
        writeln!(out, "nearest = {}\nper_region = {}\nmost = {}", pick.nearest, pick.per_region, pick.most)?;
        let (probe, settle) = (show_duration(pick.probe), show_duration(pick.settle));
        writeln!(out, "probe = \"{probe}\"\nsettle = \"{settle}\"")?;
        writeln!(out, "compression = {:?}", o.pick_packing.map_or("off", Codec::name))?;
    }
    super::dns::show(&o.dns, out)?;
    super::control::show(o, out)?;
    super::audit::show(o, out)?;
    write_quic(&o.quic, out)?;
    writeln!(out, "\n[protocol]\nmost = {}\nleast = {}", o.protocol_most, o.protocol_least)?;
    let w = &o.routing.weights;
    writeln!(out, "\n[routing]\nrtt_weight = {}\nloss_weight = {}\nprice_weight = {}", w.rtt, w.loss, w.price)?;
    let s = &o.routing.spreading;
    writeln!(out, "ways = {}\nways_within_percent = {}", s.ways, s.within)?;
    writeln!(out, "\n[paths]")?;
    for (lane, paths) in LANES.into_iter().zip(o.paths.lanes) {
        writeln!(out, "{lane} = {paths}")?;
    }
    writeln!(out, "patience = \"{}\"\nwaiting = \"{}\"", show_duration(o.paths.patience), o.paths.waiting)?;
    write_stages(&o.stages, out)?;
    write_limits(o, out)?;
    let s = &o.stream_defaults;
    writeln!(out, "\n[streams]\nsegment = \"{}\"", s.segment)?;
    match s.retain_bytes {
        Some(bytes) => writeln!(out, "retain_bytes = \"{bytes}\"")?,
        None => writeln!(out, "# retain_bytes: no bound but the disk")?,
    }
    match s.retain_age {
        Some(age) => writeln!(out, "retain_age = \"{}\"", show_duration(age))?,
        None => writeln!(out, "# retain_age: for ever")?,
    }
    let d = &o.storage;
    writeln!(out, "\n[storage]\nverify = \"{}/s\"\nverify_every = \"{}\"", d.verify, show_duration(d.verify_every))?;
    let (pause, backoff) = (show_duration(d.repair_pause), show_duration(d.repair_backoff));
    writeln!(out, "repair = \"{}\"\nrepair_pause = \"{pause}\"\nrepair_backoff = \"{backoff}\"", d.repair)?;
    match &d.keys {
        Some(keys) => writeln!(out, "# key_file, key_env: streams are encrypted, with keys of the ids {}", keys.ids())?,
        None => writeln!(out, "# key_file, key_env: streams are not encrypted")?,
    }
    writeln!(out, "\n[load]")?;
    for (lane, policy) in LANES.into_iter().zip(o.load) {
        let name = LOAD_POLICIES.iter().find(|(_, known)| *known == policy).map_or("", |(name, _)| *name);
        writeln!(out, "{lane} = {name:?}")?;
    }
    let t = &o.timers;
    writeln!(out, "\n[timers]")?;
    for (key, duration) in [
        ("hello", t.hello),
        ("probe", t.probe),
        ("link_silence", t.link_silence),
        ("link_hold", t.link_hold),
        ("link_stable", t.link_stable),
        ("redial_first", t.redial_first),
        ("redial_most", t.redial_most),
        ("alone", t.alone),
        ("drain", t.drain),
        ("drain_clients", t.drain_clients),
        ("identity", t.identity),
        ("home_patience", t.home_patience),
        ("interest_retention", t.interest_retention),
        ("interest_damping", t.interest_damping),
        ("spool_gone", t.spool_gone),
        ("positions", t.positions),
        ("keyed_syncs", t.keyed_syncs),
        ("batch", t.batch),
        ("consumer_copies", t.consumer_copies),
        ("replica_keep_alive", t.replica_keep_alive),
        ("replica_timeout", t.replica_timeout),
        ("replica_backoff", t.replica_backoff),
    ] {
        writeln!(out, "{key} = \"{}\"", show_duration(duration))?;
    }
    for rule in &o.residency {
        writeln!(out, "\n[[residency]]\nfilter = {:?}\nlabel = {:?}", rule.filter.as_str(), rule.label)?;
    }
    for class in &o.see.classes {
        writeln!(out, "\n[[ledger]]\nclass = {:?}\ntopics = {:?}", class.name, class.topics.as_str())?;
    }
    for metric in &o.see.metrics {
        let (name, filter, limit) = (&metric.name, metric.filter.as_str(), metric.limit);
        let by = metric.by.map_or(String::new(), |by| format!("by = {by}\n"));
        write!(out, "\n[[metric]]\nname = {name:?}\nfilter = {filter:?}\n{by}limit = {limit}\n")?;
    }
    super::mapping::show(&o.mapping, out)?;
    let (after, every) = (show_duration(o.see.alarm_after), show_duration(o.see.links_every));
    let (window, consumers, histograms) = (o.see.window, o.see.consumers, o.see.histograms);
    writeln!(
        out,
        "\n[see]\nwindow = {window}\nalarm_after = \"{after}\"\nlinks_every = \"{every}\"\nconsumers = {consumers}\n\
         histograms = {histograms}"
    )
}

fn write_quic(q: &QuicOptions, out: &mut String) -> std::fmt::Result {
    let congestion = CONGESTION.iter().find(|(_, known)| *known == q.congestion).map_or("", |(name, _)| *name);
    writeln!(out, "\n[quic]\nlinks = {}\nwindow = \"{}\"\ncongestion = {congestion:?}", q.links, q.window)?;
    writeln!(out, "idle = \"{}\"\nkeep_alive = \"{}\"", show_duration(q.idle), show_duration(q.keep_alive))
}

fn write_stages(stages: &StageBounds, out: &mut String) -> std::fmt::Result {
    // By name, so that a bound that is not printed does not compile.
    let StageBounds { cores, leave_cores, interval, saturated_percent, idle_percent, batch_least, batch_most } = stages;
    writeln!(out, "\n[stages]")?;
    match cores {
        Some(cores) => writeln!(out, "cores = {cores}")?,
        None => writeln!(out, "# cores: those of the process")?,
    }
    writeln!(out, "interval = \"{}\"", show_duration(*interval))?;
    for (key, number) in [
        ("leave_cores", leave_cores),
        ("saturated_percent", saturated_percent),
        ("idle_percent", idle_percent),
        ("batch_least", batch_least),
        ("batch_most", batch_most),
    ] {
        writeln!(out, "{key} = {number}")?;
    }
    Ok(())
}

fn write_limits(o: &HubOptions, out: &mut String) -> std::fmt::Result {
    // By name, so that a limit that is not printed does not compile.
    let Limits {
        memory,
        frame,
        arena,
        sessions,
        tunnels,
        tunnel_bytes,
        subscriptions_per_session,
        subscriptions,
        subscriptions_per_name,
        interest_changes,
        hubs,
        receipts,
        drain_rate,
        subscriber_events,
        subscriber_bytes,
        waiting_blocks,
        conflate_keys,
        held_bytes,
        link_window,
        link_window_most,
        link_bytes,
        dial_failures,
        picked_links,
        link_connections,
        socket_bytes,
        unsent_bytes,
        publish_blocks,
        publish_bytes,
        flow_blocks,
        ring_slots,
        topics,
        producers,
        stream_producers,
        replica_producers,
        replica_bytes,
        replica_readers,
        stream_last_values,
        open_batches,
        batch_blocks,
        batch_bytes,
        scheduled,
        schedule_ahead,
        spool_bytes,
        spool_streams,
        tenant_stream_bytes,
        streams,
        consumers,
        consumers_per_stream,
        in_flight,
        shm_sessions,
        shm_ring,
    } = &o.limits;
    writeln!(out, "\n[limits]")?;
    writeln!(out, "# reckoned, see docs/memory.md: {} of memory", budget::total(o))?;
    for part in budget::parts(o) {
        writeln!(out, "#   {:>10} {}", part.bytes.to_string(), part.name)?;
    }
    for (key, bytes) in [
        ("memory", memory),
        ("frame", frame),
        ("arena", arena),
        ("subscriber_bytes", subscriber_bytes),
        ("held_bytes", held_bytes),
        ("link_window", link_window),
        ("link_window_most", link_window_most),
        ("link_bytes", link_bytes),
        ("socket_bytes", socket_bytes),
        ("unsent_bytes", unsent_bytes),
        ("publish_bytes", publish_bytes),
        ("shm_ring", shm_ring),
        ("tunnel_bytes", tunnel_bytes),
        ("replica_bytes", replica_bytes),
        ("batch_bytes", batch_bytes),
        ("spool_bytes", spool_bytes),
        ("tenant_stream_bytes", tenant_stream_bytes),
    ] {
        writeln!(out, "{key} = \"{bytes}\"")?;
    }
    writeln!(out, "schedule_ahead = \"{}\"", show_duration(*schedule_ahead))?;
    for (key, number) in [
        ("sessions", *sessions),
        ("tunnels", *tunnels),
        ("subscriptions_per_session", *subscriptions_per_session),
        ("subscriptions", *subscriptions),
        ("subscriptions_per_name", *subscriptions_per_name),
        ("interest_changes", *interest_changes as usize),
        ("hubs", *hubs),
        ("receipts", *receipts),
        ("drain_rate", *drain_rate as usize),
        ("subscriber_events", *subscriber_events),
        ("waiting_blocks", *waiting_blocks),
        ("conflate_keys", *conflate_keys),
        ("dial_failures", *dial_failures as usize),
        ("picked_links", *picked_links),
        ("link_connections", *link_connections),
        ("publish_blocks", *publish_blocks as usize),
        ("flow_blocks", *flow_blocks),
        ("ring_slots", *ring_slots),
        ("topics", *topics),
        ("producers", *producers),
        ("stream_producers", *stream_producers),
        ("replica_producers", *replica_producers),
        ("replica_readers", *replica_readers),
        ("stream_last_values", *stream_last_values),
        ("open_batches", *open_batches),
        ("batch_blocks", *batch_blocks),
        ("scheduled", *scheduled),
        ("spool_streams", *spool_streams),
        ("streams", *streams),
        ("consumers", *consumers),
        ("consumers_per_stream", *consumers_per_stream),
        ("in_flight", *in_flight),
        ("shm_sessions", *shm_sessions),
    ] {
        writeln!(out, "{key} = {number}")?;
    }
    Ok(())
}
