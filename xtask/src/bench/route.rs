//! `cargo xtask bench route`: what the way through a gateway costs, beside a pair of veth devices
//! between two network namespaces, and slirp4netns; and how long a session by tor takes to open.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use sessile_tor_network::TorNetwork;

use super::house::House;
use super::measure::{Contender, Table, medians, millis};
use super::requests::Server;
use super::{processes, session, traffic};
use crate::{command, setup};

/// Milliseconds of one measured transfer.
const TRANSFER_MS: u32 = 1000;
/// Connections in one round of measuring how long they take.
const CONNECTS: u32 = 500;
/// Connections that are held at once.
const HELD: u32 = 1000;
/// Kills a tor and looks at packets.
const DEATH: &str = include_str!("death.py");
/// Requests in one round, over one connection and over one each.
const REQUESTS: [u32; 2] = [4000, 500];
const ADDRESSES: [&str; 2] = ["10.201.7.1", "10.201.7.2"];
/// The host as slirp4netns shows it.
const SLIRP_HOST: &str = "10.0.2.2";

/// A place from which connections are made.
struct Place<'a> {
    name: &'static str,
    /// The far end's address; none in a session, where it has a name.
    address: Option<&'static str>,
    port: u16,
    /// The near end's command, to which its arguments are added.
    near: Box<dyn Fn() -> Command + 'a>,
    rates: [Vec<f64>; 2],
    /// How long connections took to reach the far end, and to bring something back.
    connects: [Vec<f64>; 2],
}

impl Place<'_> {
    fn end(&self, end: &str, amount: u32) -> Command {
        let mut command = (self.near)();
        command.args(["bench", "traffic", end]).args(self.address);
        command.args(["--port", &self.port.to_string(), "--amount", &amount.to_string()]);
        command
    }

    fn number(&self, end: &str, amount: u32) -> Result<f64> {
        let text = command::read(&mut self.end(end, amount)).context(self.name)?;
        text.trim().parse().with_context(|| format!("{}: {text:?} is no number", self.name))
    }

    fn measure(&mut self) -> Result<()> {
        for (way, end) in ["up", "down"].into_iter().enumerate() {
            let rate = self.number(end, TRANSFER_MS)?;
            self.rates[way].push(rate);
        }
        for (what, end) in ["connect", "back"].into_iter().enumerate() {
            let time = self.number(end, CONNECTS)?;
            self.connects[what].push(time);
        }
        Ok(())
    }
}

/// Builds, installs the peers, measures everything and prints the table.
///
/// # Errors
/// When something cannot be built, installed or run.
pub fn run(rounds: usize) -> Result<()> {
    setup::run(setup::For::Bench)?;
    let program = session::build()?;
    let house = House::new(&program, "route")?;
    let tool = house.project().join("xtask");
    fs::copy(std::env::current_exe()?, &tool)?;
    let port = traffic::serve("0.0.0.0")?;
    let rule = format!("host.sessile:{port}");
    house.read(&["run", "--detach", "--name", "route", "--allow", &rule, "--", "sleep", "infinity"])?;
    let slirp = Slirp::begin()?;
    let veth = if command::is_root() { Some(Veth::begin(&tool)?) } else { None };
    let inside = || {
        let mut command = house.sessile(&["exec", "route", "--"]);
        command.arg(&tool);
        command
    };
    let place = |name, address, port, near| Place {
        name,
        address,
        port,
        near,
        rates: Default::default(),
        connects: Default::default(),
    };
    let mut places = vec![
        place(
            "loopback",
            Some("127.0.0.1"),
            port,
            Box::new(|| Command::new(&tool)) as Box<dyn Fn() -> Command>,
        ),
        place("sessile", None, port, Box::new(inside)),
    ];
    let near = Box::new(|| slirp.namespace.command(&tool));
    places.push(place("slirp4netns", Some(SLIRP_HOST), port, near));
    if let Some(veth) = &veth {
        let near = Box::new(|| veth.near.command(&tool));
        places.push(place("veth pair", Some(ADDRESSES[1]), veth.port, near));
    }
    for round in 0..rounds.max(1) {
        eprintln!("bench: round {} of {}", round + 1, rounds.max(1));
        for place in &mut places {
            place.measure()?;
        }
    }
    let mut table = Table::default();
    report(&places, &mut table);
    hold(&house, &places[1], &mut table)?;
    request(&house, &tool, rounds, &mut table)?;
    open_by_tor(&house, rounds, &mut table)?;
    print!("{}", table.render());
    Ok(())
}

fn report(places: &[Place<'_>], table: &mut Table) {
    let of = |name: &str| places.iter().find(|place| place.name == name);
    for (way, what) in ["sent", "received"].into_iter().enumerate() {
        for place in places {
            let rate = middle(&place.rates[way]);
            table.add(format!("one stream {what}: {}", place.name), format!("{:.2} GB/s", rate / 1e9), "");
        }
        for (peer, floor) in [("veth pair", "≥ 0.8x"), ("slirp4netns", "≥ 2.5x")] {
            let figure = of("sessile").zip(of(peer)).map_or("not available".to_owned(), |(ours, peer)| {
                format!("{:.2}x", middle(&ours.rates[way]) / middle(&peer.rates[way]).max(1.0))
            });
            table.add(format!("one stream {what}: sessile / {peer}"), figure, floor);
        }
    }
    let kinds = [("a connection reaches its host", "≤ 100 µs"), ("and bytes come back", "")];
    for (times, (what, floor)) in kinds.into_iter().enumerate() {
        for place in places {
            let figure = format!("{:.0} µs", middle(&place.connects[times]) / 1e3);
            table.add(format!("{what}: {}", place.name), figure, "");
        }
        if let Some((ours, plain)) = of("sessile").zip(of("loopback")) {
            let added = middle(&ours.connects[times]) - middle(&plain.connects[times]);
            table.add(format!("{what}: added by the gateway"), format!("{:.0} µs", added / 1e3), floor);
        }
    }
}

fn middle(figures: &[f64]) -> f64 {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// Holds idle connections and weighs what they cost.
fn hold(house: &House, place: &Place<'_>, table: &mut Table) -> Result<()> {
    let record = house.json(&["show", "route", "--json"])?;
    let id = record["id"].as_str().context("no id")?;
    let gateway = processes::service("sessile-gateway", id, &house.runtime())?;
    let weigh = || Ok::<_, anyhow::Error>((processes::resident_bytes(gateway)?, processes::slab_bytes()?));
    let before = weigh()?;
    let mut child = place.end("hold", HELD).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no pipe")?).read_line(&mut line)?;
    anyhow::ensure!(line == "held\n", "connections could not be held");
    let after = weigh()?;
    drop(child.stdin.take());
    child.wait()?;
    for (what, before, after) in
        [("gateway, resident", before.0, after.0), ("kernel, both ends too (slab)", before.1, after.1)]
    {
        let each = (after as f64 - before as f64) / f64::from(HELD) / 1024.0;
        table.add(format!("{HELD} idle connections, each: {what}"), format!("{each:.1} KiB"), "");
    }
    Ok(())
}

/// Requests of one client: over TLS that is opened for a credential, over TLS that is passed on
/// unseen, and in plaintext, where each is read.
fn request(house: &House, tool: &Path, rounds: usize, table: &mut Table) -> Result<()> {
    let authority = house.project().join("authority.pem");
    let server = Server::begin(&authority)?;
    let authority = authority.to_str().context("a path that is no text")?;
    let [opened, passed] = server.tls;
    let credential = format!("host.sessile:{opened}=Authorization:bearer:env:SESSILE_BENCH_TOKEN");
    let rules = [passed, server.plain].map(|port| format!("host.sessile:{port}"));
    let mut run = house.sessile(&["run", "--detach", "--name", "requests", "--upstream-ca", authority]);
    run.args(["--credential", &credential, "--allow", &rules[0], "--allow", &rules[1]]);
    run.args(["--", "sleep", "infinity"]).env("SESSILE_BENCH_TOKEN", "a-token-of-no-worth");
    command::read(&mut run)?;
    let ways =
        [("TLS opened", opened, true), ("TLS passed on", passed, true), ("plaintext", server.plain, false)];
    let kinds = [("one connection", REQUESTS[0], false), ("a connection each", REQUESTS[1], true)];
    let mut rates = vec![Vec::new(); ways.len() * kinds.len()];
    for _ in 0..rounds.max(1) {
        let all = kinds.iter().flat_map(|kind| ways.iter().map(move |way| (kind, way)));
        for (rates, ((_, amount, anew), (_, port, tls))) in rates.iter_mut().zip(all) {
            let mut near = house.sessile(&["exec", "requests", "--"]);
            near.arg(tool).args(["bench", "traffic", "ask", "--port", &port.to_string()]);
            near.args(["--amount", &amount.to_string()]);
            near.args(anew.then_some("--anew"))
                .args(tls.then_some(["--trusted", authority]).iter().flatten());
            let text = command::read(&mut near)?;
            rates.push(text.trim().parse::<f64>().with_context(|| format!("{text:?} is no number"))?);
        }
    }
    for ((kind, _, _), rates) in kinds.iter().zip(rates.chunks(ways.len())) {
        for ((way, _, _), rates) in ways.iter().zip(rates) {
            table.add(format!("requests, {kind}: {way}"), format!("{:.0} /s", middle(rates)), "");
        }
        let ratio = middle(&rates[0]) / middle(&rates[1]).max(1.0);
        table.add(format!("requests, {kind}: opened / passed on"), format!("{ratio:.2}x"), "");
    }
    Ok(())
}

/// Opens sessions by tor on a Tor network of this machine's own, beside sessions by the route direct.
fn open_by_tor(house: &House, rounds: usize, table: &mut Table) -> Result<()> {
    let what = "a session opens, with a circuit: route tor, private network";
    let floor = "≤ 2000 ms";
    if !sessile_tor_network::is_possible() {
        table.add(what, "not available", floor);
        return Ok(());
    }
    eprintln!("bench: a Tor network comes up");
    let network = TorNetwork::start()?;
    let lines = house.peers().join("tor");
    fs::write(&lines, network.lines())?;
    let lines = lines.to_str().context("a path that is no text")?;
    let by_tor = ["--route", "tor", "--tor-config", lines];
    let open = |options: &[&str]| {
        let run = ["run", "--detach", "--name", "opened", "--no-project"];
        let took = house.time(&[&run, options, &["--", "sleep", "infinity"]].concat())?;
        house.read(&["end", "opened", "--grace", "0s"])?;
        Ok(took)
    };
    let mut contenders = [
        Contender { name: "route direct", once: Box::new(|| open(&["--route", "direct"])) },
        Contender { name: "route tor", once: Box::new(|| open(&by_tor)) },
    ];
    let times = medians(&mut contenders, rounds)?;
    for (what, floor, time) in [("a session opens: route direct", "", times[0]), (what, floor, times[1])] {
        table.add(what, millis(time), floor);
    }
    drop(contenders);
    kill_tor(house, &by_tor, rounds, table)
}

/// Kills the tor of a session that sends, and looks at what leaves then.
fn kill_tor(house: &House, by_tor: &[&str], rounds: usize, table: &mut Table) -> Result<()> {
    let what = "tor killed under load: until its last packet with payload";
    if !command::is_root() {
        table.add(what, "not available", "≤ 5 ms");
        return Ok(());
    }
    let port = traffic::serve("127.0.0.1")?;
    let rule = format!("{}:{port}", sessile_tor_network::HOST);
    let send = format!(
        "exec 3<>/dev/tcp/{}/{port}; printf '\\001' >&3; cat /dev/zero >&3",
        sessile_tor_network::HOST
    );
    let (mut last, mut late) = (Vec::new(), 0);
    for round in 0..rounds.max(1) {
        let name = format!("killed-{round}");
        let run = ["run", "--detach", "--name", &name, "--no-project", "--allow", &rule];
        house.read(&[&run, by_tor, &["--", "bash", "-c", &send]].concat())?;
        let record = house.json(&["show", &name, "--json"])?;
        let id = record["id"].as_str().context("no id")?;
        let tor = processes::service("tor", id, &house.runtime())?.to_string();
        let text = command::read(Command::new("python3").args(["-c", DEATH, &tor]))?;
        let [before, after, millis] = text.split_whitespace().collect::<Vec<_>>()[..] else {
            anyhow::bail!("{text:?}")
        };
        anyhow::ensure!(before != "0", "nothing is sent by tor");
        late += after.parse::<u32>()?;
        last.push(millis.parse()?);
    }
    last.sort_by(f64::total_cmp);
    table.add(what, format!("{:.2} ms", last.last().copied().unwrap_or_default()), "≤ 5 ms");
    table.add("tor killed under load: packets with payload later than 5 ms", late.to_string(), "0");
    Ok(())
}

/// A network namespace that a sleeping process keeps.
struct Namespace {
    keeper: Child,
    _input: ChildStdin,
}

impl Namespace {
    fn new() -> Result<Self> {
        let mut command = Command::new("unshare");
        command.args([
            "--user",
            "--map-root-user",
            "--net",
            "sh",
            "-c",
            "ip link set lo up; echo up; exec cat",
        ]);
        let mut keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = keeper.stdin.take().context("no pipe")?;
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().context("no pipe")?).read_line(&mut line)?;
        anyhow::ensure!(line == "up\n", "a network namespace cannot be made");
        Ok(Self { keeper, _input: input })
    }

    /// A program in it.
    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        let pid = self.keeper.id().to_string();
        command.args(["--target", &pid, "--user", "--net", "--preserve-credentials", "--"]);
        command.arg(program.as_ref());
        command
    }

    fn ip(&self, arguments: &[&str]) -> Result<()> {
        command::run(self.command("ip").args(arguments))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// slirp4netns beside a namespace, with its largest packets.
struct Slirp {
    namespace: Namespace,
    process: Child,
}

impl Slirp {
    fn begin() -> Result<Self> {
        let namespace = Namespace::new()?;
        let pid = namespace.keeper.id().to_string();
        let mut command = Command::new("slirp4netns");
        command.args(["--configure", "--mtu=65520", "--ready-fd=1", &pid, "tap0"]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        // It says `1` when it is ready.
        let mut ready = [0];
        std::io::Read::read_exact(&mut process.stdout.take().context("no pipe")?, &mut ready)
            .context("slirp4netns does not start")?;
        Ok(Self { namespace, process })
    }
}

impl Drop for Slirp {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Two namespaces with a pair of devices, and the far end in one of them.
struct Veth {
    near: Namespace,
    _far: Namespace,
    server: Child,
    port: u16,
}

impl Veth {
    fn begin(tool: &PathBuf) -> Result<Self> {
        let [near, far] = [Namespace::new()?, Namespace::new()?];
        let [near_pid, far_pid] = [&near, &far].map(|namespace| namespace.keeper.id().to_string());
        command::run(
            Command::new("ip")
                .args(["link", "add", "veth0", "netns", &near_pid, "type", "veth"])
                .args(["peer", "name", "veth0", "netns", &far_pid]),
        )?;
        for (namespace, address) in [&near, &far].into_iter().zip(ADDRESSES) {
            namespace.ip(&["address", "add", &format!("{address}/24"), "dev", "veth0"])?;
            namespace.ip(&["link", "set", "veth0", "up"])?;
        }
        let mut server = far.command(tool);
        let mut server = server.args(["bench", "traffic", "serve"]).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(server.stdout.take().context("no pipe")?).read_line(&mut line)?;
        let port = line.trim().parse().context("the far end does not listen")?;
        // The devices find their link.
        std::thread::sleep(Duration::from_millis(200));
        Ok(Self { near, _far: far, server, port })
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
