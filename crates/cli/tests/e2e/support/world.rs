//! A private installation: its own program, state, runtime, home and project folders.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Finished, Leftovers, Running, Terminal};

/// The user that `cargo xtask setup` makes.
const TEST_USER: &str = "sessile-test";

/// As whom the commands of a world run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    /// As whoever runs the tests.
    Own { uid: u32 },
    /// As another user, which takes root.
    Other { uid: u32, gid: u32 },
}

/// One installation. [`World::close`] ends it and proves that nothing is left of it.
pub struct World {
    folder: tempfile::TempDir,
    caller: Caller,
}

/// A small file system in a world's state folder.
pub struct SmallFolder(PathBuf);

impl SmallFolder {
    /// Uses up all of its room.
    pub fn fill(&self) {
        let mut file = fs::File::create(self.0.join("ballast")).unwrap();
        let error = std::iter::repeat_with(|| file.write_all(&[1; 4096])).find_map(Result::err).unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    }

    /// Gives the room back.
    pub fn empty(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallFolder {
    fn drop(&mut self) {
        // Lazily, in case a failed test left something running in it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Runs a test's body as root, or says why not.
pub fn as_root(body: fn(&World)) {
    match own_uid() {
        0 => World::new(Caller::Own { uid: 0 }).live(body),
        _ => skip("this run needs root"),
    }
}

/// Runs a test's body as an unprivileged user, or says why not.
pub fn as_user(body: fn(&World)) {
    let own = own_uid();
    if own != 0 {
        return World::new(Caller::Own { uid: own }).live(body);
    }
    match test_user() {
        Some((uid, gid)) => World::new(Caller::Other { uid, gid }).live(body),
        None => skip(&format!("there is no user {TEST_USER}: cargo xtask setup makes it")),
    }
}

/// Runs a test's body as whoever runs the tests: where it connects to a daemon or a keeper itself.
pub fn as_own(body: fn(&World)) {
    World::new(Caller::Own { uid: own_uid() }).live(body);
}

/// Says that a test does less than it could. Past the test runner's capture, which would swallow
/// it because the test passes.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let _ = writeln!(std::io::stderr(), "skipped: {}: {reason}", thread.name().unwrap_or("a test"));
}

fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

fn test_user() -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let fields: Vec<&str> = users
        .lines()
        .map(|line| line.split(':').collect())
        .find(|fields: &Vec<&str>| fields[0] == TEST_USER)?;
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

impl World {
    fn new(caller: Caller) -> Self {
        let folder = tempfile::Builder::new().prefix("ses").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let world = Self { folder, caller };
        for part in ["state", "run", "home", "project", "config"] {
            let path = world.folder().join(part);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            world.give_to_caller(&path);
        }
        // The build folder may lie where another user cannot look.
        let built = Path::new(env!("CARGO_BIN_EXE_sessile"));
        fs::create_dir(world.folder().join("bin")).unwrap();
        fs::hard_link(built, world.program())
            .or_else(|_| fs::copy(built, world.program()).map(|_| ()))
            .unwrap();
        world
    }

    fn live(self, body: fn(&World)) {
        body(&self);
        self.close();
    }

    /// The folder that holds everything of this world.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The runtime folder.
    pub fn runtime(&self) -> PathBuf {
        self.folder().join("run")
    }

    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.folder().join("state")
    }

    /// The project folder, in which commands are run.
    pub fn project(&self) -> PathBuf {
        self.folder().join("project")
    }

    /// The caller's home folder.
    pub fn home(&self) -> PathBuf {
        self.folder().join("home")
    }

    fn program(&self) -> PathBuf {
        self.folder().join("bin/sessile")
    }

    /// Puts another program in the place of this world's, as an upgrade does.
    pub fn install(&self, program: &[u8]) {
        let next = self.folder().join("bin/next");
        fs::write(&next, program).unwrap();
        fs::set_permissions(&next, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(next, self.program()).unwrap();
    }

    /// The user id as which commands run.
    pub fn uid(&self) -> u32 {
        match self.caller {
            Caller::Own { uid } | Caller::Other { uid, .. } => uid,
        }
    }

    /// Whether commands run as root.
    pub fn is_root(&self) -> bool {
        self.uid() == 0
    }

    /// Mounts a tmpfs of this size over the state folder until the answer is dropped; `None` where
    /// the tests may not mount.
    pub fn small_state_folder(&self, size: &str) -> Option<SmallFolder> {
        if own_uid() != 0 {
            return None;
        }
        let options = format!("size={size},mode=700,uid={}", self.uid());
        let state = self.state();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&state);
        let mounted = mount.status().is_ok_and(|status| status.success());
        mounted.then_some(SmallFolder(state))
    }

    /// Makes a file or folder the caller's.
    pub fn give_to_caller(&self, path: &Path) {
        if let Caller::Other { uid, gid } = self.caller {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
    }

    /// Writes a file of the project, the caller's.
    pub fn write(&self, path: &str, text: &str) -> PathBuf {
        let full = self.project().join(path);
        let parent = full.parent().unwrap();
        if !parent.exists() {
            fs::create_dir(parent).unwrap();
            self.give_to_caller(parent);
        }
        fs::write(&full, text).unwrap();
        self.give_to_caller(&full);
        full
    }

    /// The command with these arguments, as the caller would start it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_behind(&[], arguments)
    }

    /// The same behind a program that starts it, such as `setsid`.
    pub fn command_behind(&self, starter: &[&str], arguments: &[&str]) -> Command {
        let mut line: Vec<String> = Vec::new();
        if let Caller::Other { uid, gid } = self.caller {
            line.extend([
                "setpriv".to_owned(),
                format!("--reuid={uid}"),
                format!("--regid={gid}"),
                "--clear-groups".to_owned(),
            ]);
        }
        line.extend(starter.iter().map(|&word| word.to_owned()));
        line.push(self.program().to_string_lossy().into_owned());
        line.extend(arguments.iter().map(|&word| word.to_owned()));
        let mut command = Command::new(&line[0]);
        command
            .args(&line[1..])
            .current_dir(self.project())
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.home())
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm-256color")
            .env("XDG_CONFIG_HOME", self.folder().join("config"))
            .env("SESSILE_STATE_DIR", self.state())
            .env("SESSILE_RUNTIME_DIR", self.runtime());
        command
    }

    /// Runs a command to its end, without input.
    pub fn sessile(&self, arguments: &[&str]) -> Finished {
        self.start(arguments, Stdio::null()).finish()
    }

    /// The same with this variable set.
    pub fn sessile_where(&self, variable: &str, value: &Path, arguments: &[&str]) -> Finished {
        let mut command = self.command(arguments);
        command.env(variable, value).stdin(Stdio::null());
        Running::start(command).finish()
    }

    /// Runs a command to its end with this input.
    pub fn sessile_with_input(&self, arguments: &[&str], input: &[u8]) -> Finished {
        let mut running = self.start(arguments, Stdio::piped());
        running.feed(input.to_vec());
        running.finish()
    }

    /// Writes a file beside the project, where no session sees it, and returns its path.
    pub fn file_beside(&self, name: &str, text: &str) -> String {
        let path = self.folder().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Runs a command that was put together by hand to its end, without input.
    pub fn run(&self, mut command: Command) -> Finished {
        command.stdin(Stdio::null());
        Running::start(command).finish()
    }

    /// Removes the runtime folder with all that is in it, and makes an empty one in its place,
    /// which the caller could not everywhere.
    pub fn lose_runtime(&self) {
        let path = self.runtime();
        // Who lives may put something there meanwhile.
        super::processes::eventually("it is removed", || fs::remove_dir_all(&path).ok());
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        self.give_to_caller(&path);
    }

    /// Starts a command with pipes for its output.
    pub fn start(&self, arguments: &[&str], input: Stdio) -> Running {
        let mut command = self.command(arguments);
        command.stdin(input);
        Running::start(command)
    }

    /// Starts a daemon whose keepers follow these orders for tests, and waits until it listens.
    pub fn daemon_with(&self, orders: &str) -> Running {
        let mut command = self.command(&["daemon", "run"]);
        command.env("SESSILE_DEBUG", orders).stdin(Stdio::null());
        let running = Running::start(command);
        let socket = self.runtime().join("daemon.sock");
        super::processes::eventually("the daemon listens", || {
            std::os::unix::net::UnixStream::connect(&socket).ok()
        });
        running
    }

    /// Starts a command on a terminal of 80 columns and 24 rows.
    pub fn terminal(&self, arguments: &[&str]) -> Terminal {
        self.terminal_of((80, 24), arguments)
    }

    /// The same on a terminal of so many columns and rows.
    pub fn terminal_of(&self, size: (u16, u16), arguments: &[&str]) -> Terminal {
        Terminal::start(size, self.uid(), |starter| self.command_behind(starter, arguments))
    }

    /// The same on a terminal of root's, as behind `su`.
    pub fn terminal_of_root(&self, arguments: &[&str]) -> Terminal {
        Terminal::start((80, 24), 0, |starter| self.command_behind(starter, arguments))
    }

    /// The same below a shell that has the terminal back afterwards, prints `it ended with CODE`
    /// and ends with the next line typed. The command inherits a descriptor, 7.
    pub fn terminal_below_shell(&self, arguments: &[&str]) -> Terminal {
        self.terminal_below_script("\"$@\"; echo it ended with $?; read line", arguments)
    }

    /// The same below a shell script that runs the command as `"$@"`.
    pub fn terminal_below_script(&self, script: &str, arguments: &[&str]) -> Terminal {
        // With job control, the command is the terminal's foreground, in a group of its own.
        let script = &format!("exec 7</dev/null; set -m; {script}");
        Terminal::start((80, 24), self.uid(), |starter| {
            self.command_behind(&[starter, &["sh", "-c", script, "sh"]].concat(), arguments)
        })
    }

    /// Runs a command that must succeed.
    pub fn must(&self, arguments: &[&str]) -> String {
        self.sessile(arguments).succeeded()
    }

    /// Runs a command that must succeed and print JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.must(arguments);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?} printed no JSON ({e}): {text}"))
    }

    /// Opens a detached session with this name and command and returns its id.
    pub fn open(&self, name: &str, command: &[&str]) -> String {
        let mut arguments = vec!["run", "--detach", "--name", name, "--"];
        arguments.extend(command);
        self.must(&arguments);
        self.show(name)["id"].as_str().unwrap().to_owned()
    }

    /// A session's record.
    pub fn show(&self, session: &str) -> Value {
        self.json(&["show", session, "--json"])
    }

    /// The host's process id of a session's main command.
    pub fn main_pid(&self, session: &str) -> u32 {
        let record = self.show(session);
        let apps = record["apps"].as_array().unwrap();
        let main = apps.iter().find(|app| app["name"] == "main").unwrap();
        u32::try_from(main["pid"].as_u64().unwrap_or_else(|| panic!("main does not run: {record}"))).unwrap()
    }

    /// Ends every session and the daemon, and checks that nothing is left of them.
    pub fn close(&self) {
        let leftovers = Leftovers::expect_none_of(self);
        let ended = self.sessile(&["end", "--all", "--grace", "1s"]);
        let stopped = self.sessile(&["daemon", "stop"]);
        leftovers.check();
        ended.succeeded();
        stopped.succeeded();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Only what a failed test left; after a close there is nothing.
        Leftovers::expect_none_of(self).remove();
    }
}
