//! `weft top`: the mesh on a terminal, as the dashboard has it, by looks once a second.
//!
//! A thread looks, and this one draws and takes keys, so that a hub which does not answer
//! keeps nobody from leaving. The terminal is as it was before on every way out: at a
//! key, at a signal that ends the program, at an error, and at a panic.

mod screen;
mod sheets;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use futures_lite::future;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::sync::oneshot;
use weft_base::{Clock, SystemClock};
use weft_client::{Client, RequestError};

use self::screen::Screen;
use self::sheets::Seen;
pub(crate) use self::sheets::harmless;
use crate::Usage;
use crate::cli::TopArgs;
use crate::connect::connect_for;
use crate::logs;
use crate::watch::{Look, Watch, look};

const NAME: &str = "weft top";
/// How often the mesh is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// Every so many looks consumers are asked for too.
const CONSUMERS: u64 = 10;
/// How long keys are waited for before what else came is looked at.
const KEYS: Duration = Duration::from_millis(100);
/// How long a hub that cannot be reached is tried, to begin with.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(args: &TopArgs) -> anyhow::Result<()> {
    if args.once {
        return once(args);
    }
    if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        anyhow::bail!(Usage("weft top needs a terminal; --once prints what there is to see".to_owned()));
    }
    let client = future::block_on(connect_for(&args.server, NAME, None))?;
    // Lines of the log would stand across the view.
    logs::set_level(Some(tracing::Level::ERROR));
    let shown = show(&client);
    future::block_on(client.close());
    shown
}

/// Two looks, so that there are rates.
fn once(args: &TopArgs) -> anyhow::Result<()> {
    let client = future::block_on(connect_for(&args.server, NAME, Some(PATIENCE)))?;
    let mut looker = Looker::new();
    looker.take(&future::block_on(look(&client, true))?);
    thread::sleep(EVERY);
    let seen = looker.take(&future::block_on(look(&client, true))?);
    future::block_on(client.close());
    let mut out = io::stdout().lock();
    out.write_all(seen.text().as_bytes())?;
    out.flush()?;
    Ok(())
}

/// What is known from look to look.
struct Looker {
    watch: Watch,
    clock: SystemClock,
}

impl Looker {
    fn new() -> Self {
        Self { watch: Watch::default(), clock: SystemClock::new() }
    }

    fn take(&mut self, look: &Look) -> Seen {
        let (sight, alerts) = self.watch.take(look, self.clock.now());
        Seen { sight, alerts, counts: self.watch.counts.clone() }
    }
}

/// Looks until nobody wants to know any more: `stop` ends a look, `pause` the time to
/// the next one.
fn looks(
    client: &Client,
    told: &mpsc::Sender<Result<Seen, String>>,
    pause: &mpsc::Receiver<()>,
    mut stop: oneshot::Receiver<()>,
) {
    let mut looker = Looker::new();
    for turn in 0.. {
        let looked = async { Some(look(client, turn % CONSUMERS == 0).await) };
        let stopped = async {
            let _ = (&mut stop).await;
            None
        };
        let Some(looked) = future::block_on(future::or(looked, stopped)) else { return };
        let seen = looked.map(|look| looker.take(&look)).map_err(|error: RequestError| error.to_string());
        if told.send(seen).is_err() || pause.recv_timeout(EVERY) == Err(mpsc::RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// The terminal, which is set back when this goes.
struct Terminal(DefaultTerminal);

impl Terminal {
    fn open() -> io::Result<Self> {
        // Its hook sets the terminal back before a panic is told.
        ratatui::try_init().map(Self).inspect_err(|_| ratatui::restore())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// What there is to read from the terminal.
enum Typed {
    Something,
    Nothing,
    /// The terminal is no more.
    Gone,
}

/// Waits for something for [`KEYS`] at most. crossterm alone would read the end of a
/// terminal for ever, where SIGHUP is ignored (`nohup`).
fn typed() -> io::Result<Typed> {
    let stdin = io::stdin();
    let mut one = [PollFd::new(&stdin, PollFlags::IN)];
    let wait = Timespec::try_from(KEYS).map_err(io::Error::other)?;
    match poll(&mut one, Some(&wait)) {
        Ok(0) | Err(Errno::INTR) => Ok(Typed::Nothing),
        Ok(_) if one[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) => Ok(Typed::Gone),
        Ok(_) => Ok(Typed::Something),
        Err(error) => Err(error.into()),
    }
}

fn show(client: &Client) -> anyhow::Result<()> {
    let ended = Arc::<AtomicBool>::default();
    // Not SIGHUP, which ends it at once: the terminal is gone, there is nothing to set back.
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, ended.clone())?;
    }
    let (tell, told) = mpsc::channel();
    let (pausing, pause) = mpsc::channel::<()>();
    let (stopping, stop) = oneshot::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || looks(client, &tell, &pause, stop));
        // The looks end when these go, however that comes.
        let _until = (pausing, stopping);
        let mut terminal = Terminal::open()?;
        let mut screen = Screen::default();
        while !ended.load(Ordering::Acquire) {
            told.try_iter().for_each(|looked| screen.take(looked));
            terminal.0.draw(|frame| screen.draw(frame))?;
            match typed()? {
                Typed::Something => {}
                Typed::Nothing => continue,
                Typed::Gone => break,
            }
            if event::poll(Duration::ZERO)?
                && let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
                && !screen.key(key)
            {
                break;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests;
