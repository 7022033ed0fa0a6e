//! `cookies`: a session's cookie jar.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Subcommand, ValueEnum};
use serde_json::json;
use sessile_jar::{Cookie, Filter, Format, Host, Jar, Kept, MOST_INPUT, SameSite};
use sessile_model::Timestamp;
use sessile_model::api;
use sessile_model::problem::ProblemKind;
use zeroize::Zeroizing;

use super::text::now;
use crate::client::Daemon;
use crate::failure::{Failure, Outcome, Status};
use crate::files;
use crate::output::{print, print_bytes, print_json, printable, say, table};
use crate::selector::SessionSelector;

/// See and change a session's cookies
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile cookies amber list
  sessile cookies amber set app.example.com sid --from env:SID --secure --http-only
  sessile cookies amber import cookies.txt
  sessile cookies amber export --format storage-state state.json
  sessile cookies amber delete --domain example.com

A value never stands on the command line: it comes from a variable, a file or standard input. The
jar is wiped with the session.")]
pub struct Args {
    /// The session
    session: SessionSelector,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show them, without their values
    List {
        #[command(flatten)]
        which: Which,
    },
    /// Add one, or replace it
    Set(Box<Set>),
    /// Remove them
    Delete {
        #[command(flatten)]
        which: Which,
        /// All of them
        #[arg(long, conflicts_with_all = ["domain", "name"])]
        all: bool,
    },
    /// Write them, with their values, to a new file, or to standard output
    Export {
        /// The format
        #[arg(long, value_enum, default_value = "netscape")]
        format: FileFormat,
        /// The file
        file: Option<PathBuf>,
    },
    /// Read them from a file, or from standard input (`-`)
    Import {
        /// The format [default: told by the first character]
        #[arg(long, value_enum)]
        format: Option<FileFormat>,
        /// The file
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Those of this domain and below it
    #[arg(long, value_name = "DOMAIN", value_parser = host)]
    domain: Option<Host>,
    /// Those of this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Set {
    /// The host that it is for
    #[arg(value_parser = host)]
    host: Host,
    /// Its name
    name: String,
    /// Where its value is: env:VARIABLE, file:PATH, or - for standard input
    #[arg(long, value_name = "SOURCE")]
    from: Source,
    /// Its path
    #[arg(long, default_value = "/")]
    path: String,
    /// Hosts below that host get it too
    #[arg(long)]
    below: bool,
    /// Only secure connections carry it
    #[arg(long)]
    secure: bool,
    /// Scripts do not see it
    #[arg(long)]
    http_only: bool,
    /// Which requests of other sites carry it
    #[arg(long, value_enum)]
    same_site: Option<Site>,
    /// When it ends (RFC 3339) [default: with the session]
    #[arg(long, value_name = "TIME")]
    expires: Option<Timestamp>,
}

/// A file's format, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FileFormat {
    /// cookies.txt, as curl, wget and yt-dlp have it
    Netscape,
    /// Playwright's storageState: its cookies
    StorageState,
}

/// `SameSite`, as it is typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Site {
    None,
    Lax,
    Strict,
}

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Variable(String),
    File(PathBuf),
    Stdin,
}

impl FromStr for Source {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Variable(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ if text == "-" => Ok(Self::Stdin),
            _ => Err("a value comes from env:VARIABLE, file:PATH or - (standard input)"),
        }
    }
}

impl Args {
    /// Reads the jar, does what is asked, and writes it back where it changed.
    pub fn run(self, json: bool) -> Outcome {
        let daemon = Daemon::reach()?;
        let path = self.session.path("/cookies");
        let mut held: api::Cookies = daemon.get(&path)?;
        let mut jar: Jar = match held.jar.is_empty() {
            true => Jar::new(),
            false => serde_json::from_str(&held.jar)
                .map_err(|e| Failure::new(ProblemKind::Internal, format!("the session's cookies: {e}")))?,
        };
        jar.sweep(now());
        let changed = match self.action {
            Action::List { which } => list(&jar, &which.filter(), json).map(|()| false)?,
            Action::Set(set) => set.carry_out(&mut jar)?,
            Action::Delete { which, all } => delete(&mut jar, &which, all)?,
            Action::Export { format, file } => export(&jar, format, file, json).map(|()| false)?,
            Action::Import { format, file } => import(&mut jar, format, &file, json)?,
        };
        if changed {
            held.jar = serde_json::to_string(&jar)
                .map_err(|e| Failure::new(ProblemKind::Internal, format!("the cookies: {e}")))?;
            let () = daemon.post(&path, &held)?;
        }
        Ok(Status::OK)
    }
}

impl Which {
    fn filter(&self) -> Filter {
        let filter = Filter { within: self.domain.clone(), ..Filter::all() };
        match &self.name {
            Some(name) => filter.named(name.as_bytes()),
            None => filter,
        }
    }
}

fn list(jar: &Jar, filter: &Filter, json: bool) -> Result<(), Failure> {
    let found: Vec<&Kept> = jar.list(filter).collect();
    if json {
        return print_json(&found.iter().map(|kept| described(kept)).collect::<Vec<_>>());
    }
    if found.is_empty() {
        say("no cookies");
        return Ok(());
    }
    let mut rows = vec![["NAME", "DOMAIN", "PATH", "ENDS", "ATTRIBUTES"].map(str::to_owned).to_vec()];
    rows.extend(found.iter().map(|kept| {
        let ends = kept.expires.map_or_else(|| "with the session".to_owned(), |at| at.to_string());
        let dot = if kept.host_only { "" } else { "." };
        let domain = format!("{dot}{}", kept.domain.as_str());
        vec![printable(&kept.name_text()), domain, printable(&kept.path), ends, attributes(kept).join(" ")]
    }));
    print(&table(&rows))
}

fn attributes(cookie: &Cookie) -> Vec<String> {
    let site = match cookie.same_site {
        SameSite::Default => None,
        SameSite::None => Some("SameSite=None"),
        SameSite::Lax => Some("SameSite=Lax"),
        SameSite::Strict => Some("SameSite=Strict"),
    };
    let said = [
        cookie.secure.then_some("Secure"),
        cookie.http_only.then_some("HttpOnly"),
        site,
        cookie.partition.is_some().then_some("Partitioned"),
    ];
    said.into_iter().flatten().map(str::to_owned).collect()
}

fn described(cookie: &Kept) -> serde_json::Value {
    json!({
        "name": cookie.name_text(),
        "domain": cookie.domain.as_str(),
        "host_only": cookie.host_only,
        "path": cookie.path,
        "expires": cookie.expires,
        "attributes": attributes(cookie),
        "created_at": cookie.created(),
        "last_used": cookie.accessed(),
    })
}

impl Set {
    fn carry_out(self, jar: &mut Jar) -> Result<bool, Failure> {
        let value = self.from.read()?;
        let cookie = Cookie {
            host_only: !self.below,
            path: self.path,
            expires: self.expires,
            secure: self.secure,
            http_only: self.http_only,
            same_site: match self.same_site {
                None => SameSite::Default,
                Some(Site::None) => SameSite::None,
                Some(Site::Lax) => SameSite::Lax,
                Some(Site::Strict) => SameSite::Strict,
            },
            ..Cookie::new(self.host, self.name.as_bytes(), &value)
        };
        jar.set(cookie, now()).map_err(|why| {
            Failure::new(ProblemKind::BadRequest, format!("the jar does not take it: {why}"))
        })?;
        Ok(true)
    }
}

impl Source {
    fn read(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let mut value = match self {
            Self::Variable(name) => {
                Zeroizing::new(std::env::var(name).map(String::into_bytes).map_err(|_| {
                    Failure::new(ProblemKind::BadRequest, format!("the variable {name} is not set"))
                })?)
            }
            Self::File(path) => files::bytes(path, MOST_INPUT)?,
            Self::Stdin => files::standard_input(MOST_INPUT)?,
        };
        // A file's or a pipe's last line ends with it; no value does.
        while matches!(value.last(), Some(b'\n' | b'\r')) {
            value.pop();
        }
        Ok(value)
    }
}

fn delete(jar: &mut Jar, which: &Which, all: bool) -> Result<bool, Failure> {
    if !all && which.domain.is_none() && which.name.is_none() {
        return Err(Failure::new(ProblemKind::BadRequest, "which cookies are meant is not said")
            .hint("--domain, --name, or --all"));
    }
    let count = jar.delete(&which.filter());
    say(&format!("{count} removed"));
    Ok(count > 0)
}

fn export(jar: &Jar, format: FileFormat, file: Option<PathBuf>, json: bool) -> Result<(), Failure> {
    let exported = jar.export(format.into(), now());
    for (name, domain, lost) in &exported.lost {
        let what = match lost {
            sessile_jar::Lost::SameSite => "its SameSite is not written",
            sessile_jar::Lost::DefaultSameSite => "its SameSite was not said and is written as Lax",
            sessile_jar::Lost::Partitioned => "left out: it is partitioned",
            sessile_jar::Lost::Unwritable => "left out: the format cannot write it",
        };
        say(&format!("{} of {domain}: {what}", printable(name)));
    }
    let Some(path) = file else { return print_bytes(&exported.text) };
    let failed = |e: &std::io::Error| match e.kind() == std::io::ErrorKind::AlreadyExists {
        true => Failure::new(ProblemKind::Conflict, format!("{} exists already", path.display()))
            .hint("name a new file: it is to be readable by you alone"),
        false => Failure::system(format!("write {}", path.display()), e),
    };
    let mut options = fs::OpenOptions::new();
    let mut out = options.write(true).create_new(true).mode(0o600).open(&path).map_err(|e| failed(&e))?;
    out.write_all(&exported.text).map_err(|e| failed(&e))?;
    if json {
        print_json(&json!({ "cookies": exported.cookies, "lost": exported.lost.len() }))?;
    } else {
        say(&format!(
            "{} in {}",
            crate::output::counted(exported.cookies as u64, "cookie", "cookies"),
            path.display()
        ));
    }
    Ok(())
}

/// How many entries that were not taken are told one by one.
const SHOWN_REFUSALS: usize = 20;

fn import(jar: &mut Jar, format: Option<FileFormat>, file: &Path, json: bool) -> Result<bool, Failure> {
    let bytes = if file.as_os_str() == "-" {
        files::standard_input(MOST_INPUT)?
    } else {
        files::bytes(file, MOST_INPUT)?
    };
    let first = bytes.iter().find(|b| !b.is_ascii_whitespace());
    let told = if first == Some(&b'{') { FileFormat::StorageState } else { FileFormat::Netscape };
    let imported = jar
        .import(format.unwrap_or(told).into(), &bytes, now())
        .map_err(|e| Failure::new(ProblemKind::BadRequest, format!("{}: {e}", file.display())))?;
    for refusal in imported.refused.iter().take(SHOWN_REFUSALS) {
        say(&format!("entry {} was not taken: {}", refusal.at, refusal.why));
    }
    let (added, replaced, refused) = (imported.added, imported.replaced, imported.refused.len());
    if refused > SHOWN_REFUSALS {
        say(&format!("and {} more", refused - SHOWN_REFUSALS));
    }
    if added + replaced == 0 && refused > 0 {
        let detail = format!("{}: none of its entries is a cookie that can be taken", file.display());
        return Err(Failure::new(ProblemKind::BadRequest, detail)
            .hint("it is to be a cookies.txt (Netscape) or a storageState file of Playwright"));
    }
    if json {
        print_json(&json!({ "added": added, "replaced": replaced, "refused": refused }))?;
    } else {
        say(&format!("{added} added, {replaced} replaced, {refused} not taken"));
    }
    Ok(added + replaced > 0)
}

impl From<FileFormat> for Format {
    fn from(format: FileFormat) -> Self {
        match format {
            FileFormat::Netscape => Self::Netscape,
            FileFormat::StorageState => Self::StorageState,
        }
    }
}

fn host(text: &str) -> Result<Host, String> {
    Host::parse(text.trim_start_matches('.')).map_err(|e| e.to_string())
}
