//! `cargo xtask setup`: installs what tests and benchmarks need, and nothing when it is all there.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command;

/// The unprivileged user as whom root runs the tests a second time.
pub const TEST_USER: &str = "sessile-test";
const TEST_HOME: &str = "/var/lib/sessile-test";

/// What the installed programs are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// The tests.
    Tests,
    /// The tests and the benchmarks.
    Bench,
    /// The tests, and those that boot an emulated machine.
    Slow,
}

/// A program and the Debian package that brings it.
struct Need {
    program: &'static str,
    package: &'static str,
}

const TESTS_NEED: [Need; 7] = [
    Need { program: "curl", package: "curl" },
    Need { program: "git", package: "git" },
    Need { program: "nft", package: "nftables" },
    Need { program: "openssl", package: "openssl" },
    Need { program: "python3", package: "python3" },
    Need { program: "setpriv", package: "util-linux" },
    Need { program: "setsid", package: "util-linux" },
];
/// Without these some tests are skipped.
const TESTS_LIKE: [Need; 8] = [
    Need { program: "fish", package: "fish" },
    Need { program: "htop", package: "htop" },
    Need { program: "less", package: "less" },
    Need { program: "ssh-agent", package: "openssh-client" },
    Need { program: "tmux", package: "tmux" },
    Need { program: "tor", package: "tor" },
    Need { program: "vim", package: "vim" },
    Need { program: "zsh", package: "zsh" },
];
const SLOW_NEEDS: [Need; 3] = [
    Need { program: "qemu-system-x86_64", package: "qemu-system-x86" },
    Need { program: "ldd", package: "libc-bin" },
    Need { program: "dpkg-deb", package: "dpkg" },
];
const BENCH_NEEDS: [Need; 9] = [
    Need { program: "bwrap", package: "bubblewrap" },
    Need { program: "runc", package: "runc" },
    Need { program: "tmux", package: "tmux" },
    Need { program: "dtach", package: "dtach" },
    Need { program: "screen", package: "screen" },
    Need { program: "slirp4netns", package: "slirp4netns" },
    Need { program: "ip", package: "iproute2" },
    Need { program: "unshare", package: "util-linux" },
    Need { program: "nsenter", package: "util-linux" },
];

/// Installs what is missing. Says nothing when nothing is.
///
/// # Errors
/// When something is missing and cannot be installed, with the command that would.
pub fn run(purpose: For) -> Result<()> {
    let mut packages = missing(&TESTS_NEED);
    match purpose {
        For::Tests => {}
        For::Bench => packages.extend(missing(&BENCH_NEEDS)),
        For::Slow => packages.extend(missing(&SLOW_NEEDS)),
    }
    packages.dedup();
    if !packages.is_empty() {
        install(&packages)?;
    }
    let liked = missing(&TESTS_LIKE);
    if !liked.is_empty()
        && let Err(error) = install(&liked)
    {
        eprintln!("setup: {error} Tests that need it are skipped.");
    }
    if command::is_root() {
        make_test_user()?;
    }
    if purpose == For::Tests {
        install_of_others();
    }
    Ok(())
}

/// From npm's registry, for acceptance tests: into which folder in the target folder, and what. The client of a
/// coding agent has some 100 MB.
const OF_OTHERS: [(&str, &str, &str); 2] = [
    ("agent", "@google/gemini-cli", "0.61.0"),
    ("mcp-server", "@modelcontextprotocol/server-filesystem", "2026.8.31"),
];

/// Installs what acceptance tests use of others. Without it those tests are skipped.
fn install_of_others() {
    for (folder, package, version) in OF_OTHERS {
        let folder = command::root().join("target").join(folder);
        if folder.join("node_modules").join(package).join("package.json").exists() {
            continue;
        }
        let Some(npm) = command::find("npm") else {
            eprintln!("setup: without npm, {package} is not installed, and its acceptance test is skipped");
            continue;
        };
        eprintln!("setup: installing {package}");
        let mut install = Command::new(npm);
        install.args([
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--omit=optional",
            "--prefix",
        ]);
        install.arg(&folder).arg(format!("{package}@{version}")).stdout(std::io::stderr());
        if command::run(&mut install).is_err() {
            eprintln!("setup: installing {package} failed, and its acceptance test is skipped");
        }
    }
}

/// Where [`install_shpool`] puts it.
pub fn shpool() -> PathBuf {
    command::root().join("target/peers/bin/shpool")
}

/// Another program that keeps terminals, from the registry of crates, into the target folder.
/// Without it the benchmark goes without.
pub fn install_shpool() {
    if shpool().exists() {
        return;
    }
    eprintln!("setup: installing shpool");
    let mut install = command::cargo();
    install.args(["install", "--quiet", "--locked", "--version", "0.11.5", "--root"]);
    if command::run(install.arg(command::root().join("target/peers")).arg("shpool")).is_err() {
        eprintln!("setup: installing shpool failed; it is not among the peers");
    }
}

fn missing(needs: &[Need]) -> Vec<&'static str> {
    needs.iter().filter(|need| command::find(need.program).is_none()).map(|need| need.package).collect()
}

fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    let mend = format!("apt-get update && apt-get install --yes --no-install-recommends {list}");
    if command::find("apt-get").is_none() {
        bail!("missing: {list}. Install them with this system's package manager, then try again.");
    }
    if !command::is_root() {
        bail!("missing: {list}. Only root may install them: sudo sh -c '{mend}'");
    }
    eprintln!("setup: installing {list}");
    let updated = command::run(apt_get().arg("update"));
    let installed = updated.and_then(|()| {
        command::run(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(packages))
    });
    if installed.is_err() {
        bail!("missing: {list}. Installing them failed; once it can work: {mend}");
    }
    Ok(())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet");
    // invoke-rc.d and systemctl take it for a system that is not up: no service that comes along is
    // started.
    command.env("RUNLEVEL", "1").env("SYSTEMD_OFFLINE", "1");
    // Standard output belongs to the test runner's summary.
    command.stdout(std::io::stderr());
    command
}

fn make_test_user() -> Result<()> {
    let is_known = |file: &str| -> Result<bool> {
        let known = std::fs::read_to_string(file)?;
        Ok(known.lines().any(|line| line.split(':').next() == Some(TEST_USER)))
    };
    if is_known("/etc/passwd")? {
        return Ok(());
    }
    let Some(useradd) = command::find("useradd") else {
        bail!("missing: useradd, which makes the user {TEST_USER}: apt-get install passwd");
    };
    eprintln!("setup: making the user {TEST_USER}");
    // A user that was removed may have left its group.
    let group: &[&str] = if is_known("/etc/group")? { &["--gid", TEST_USER] } else { &["--user-group"] };
    command::run(Command::new(useradd).args(["--system", "--create-home"]).args(group).args([
        "--home-dir",
        TEST_HOME,
        "--shell",
        "/bin/sh",
        TEST_USER,
    ]))
}
