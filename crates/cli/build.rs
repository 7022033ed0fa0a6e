//! Builds the four images that the binary embeds: anchor, keeper, gateway and guard, each a static
//! program.
//!
//! They are built by a cargo of their own, into a target folder of their own, so that neither
//! waits for the lock that the outer cargo holds. `SESSILE_ANCHOR_IMAGE`,
//! `SESSILE_KEEPER_IMAGE`, `SESSILE_GATEWAY_IMAGE` and `SESSILE_GUARD_IMAGE` name images that were built
//! before, for packagers who build in steps.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

/// An embedded program: its package, its binary and the variable that names its image.
struct Image {
    package: &'static str,
    program: &'static str,
    variable: &'static str,
}

const IMAGES: [Image; 4] = [
    Image { package: "sessile-anchor", program: "sessile-anchor", variable: "SESSILE_ANCHOR_IMAGE" },
    Image { package: "sessile-keeper", program: "sessile-keeper", variable: "SESSILE_KEEPER_IMAGE" },
    Image { package: "sessile-network", program: "sessile-gateway", variable: "SESSILE_GATEWAY_IMAGE" },
    Image { package: "sessile-guardhouse", program: "sessile-guard", variable: "SESSILE_GUARD_IMAGE" },
];

fn main() {
    if let Err(why) = build() {
        eprintln!("error: {why}");
        exit(1);
    }
}

fn build() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    // Linked at a fixed address, as the images are: what a position-independent program relocates is
    // private to each of its processes, and costs every command's start.
    println!("cargo::rustc-link-arg-bins=-no-pie");
    for image in &IMAGES {
        println!("cargo::rerun-if-env-changed={}", image.variable);
    }
    let out = PathBuf::from(variable("OUT_DIR")?);
    let given: Vec<Option<PathBuf>> =
        IMAGES.iter().map(|i| env::var_os(i.variable).map(Into::into)).collect();
    let built = if given.iter().all(Option::is_some) { None } else { Some(Nested::build(&out)?) };
    for (image, given) in IMAGES.iter().zip(given) {
        let path = match (&given, &built) {
            (Some(path), _) => path.clone(),
            (None, Some(nested)) => nested.binary(image.program),
            (None, None) => return Err(format!("no image of {}", image.program)),
        };
        // The copy keeps its time stamp while its bytes stay the same, and a lost nested target
        // folder doesn't break an outer build that is up to date.
        let copy = out.join(image.program);
        let bytes = fs::read(&path).map_err(|e| format!("cannot read the image {}: {e}", path.display()))?;
        if fs::read(&copy).ok().as_deref() != Some(&bytes[..]) {
            fs::write(&copy, &bytes).map_err(|e| format!("cannot write {}: {e}", copy.display()))?;
        }
        println!("cargo::rustc-env={}={}", image.variable, copy.display());
        match (given, &built) {
            (Some(path), _) => println!("cargo::rerun-if-changed={}", path.display()),
            (None, Some(nested)) => nested.watch(image.program)?,
            (None, None) => {}
        }
    }
    Ok(())
}

/// The nested build's workspace and the folder its binaries are in.
struct Nested {
    workspace: PathBuf,
    binaries: PathBuf,
}

impl Nested {
    fn build(out: &Path) -> Result<Self, String> {
        let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
        let workspace = manifest.ancestors().nth(2).ok_or("the crate is not in a workspace")?.to_owned();
        let triple = variable("TARGET")?;
        // OUT_DIR is TARGET_DIR/PROFILE/build/NAME-HASH/out.
        let target = out.ancestors().nth(4).ok_or("OUT_DIR is not where cargo puts it")?.join("embedded");
        let mut cargo = Command::new(variable("CARGO")?);
        cargo.current_dir(&workspace).args(["build", "--quiet", "--locked", "--profile", "embedded"]);
        cargo.args(["--target", &triple]).arg("--target-dir").arg(&target);
        for image in &IMAGES {
            cargo.args(["--package", image.package, "--bin", image.program]);
        }
        // Tests stop keepers at chosen steps; what users install cannot be stopped so.
        if variable("PROFILE")? == "debug" {
            cargo.args(["--features", "sessile-keeper/rehearsal"]);
        }
        clear_inherited(&mut cargo);
        // Random numbers come by the system call: a gateway may not open `/dev/random`, to which a
        // static program would turn otherwise.
        let random = "--cfg=getrandom_backend=\"linux_getrandom\"";
        let flags = ["-Ctarget-feature=+crt-static", "-Crelocation-model=static", random];
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        let output =
            cargo.output().map_err(|e| format!("cannot start cargo for the embedded programs: {e}"))?;
        if !output.status.success() {
            return Err(format!(
                "the embedded programs (anchor, keeper, gateway, guard) do not build ({}):\n{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        Ok(Self { workspace, binaries: target.join(triple).join("embedded") })
    }

    fn binary(&self, program: &str) -> PathBuf {
        self.binaries.join(program)
    }

    /// Has the script run again when a source file of the image changes, as cargo's own
    /// dependency file lists them, a manifest of theirs, or the lock file.
    fn watch(&self, program: &str) -> Result<(), String> {
        let path = self.binaries.join(format!("{program}.d"));
        let text = fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let mut watched: BTreeSet<PathBuf> =
            [self.workspace.join("Cargo.toml"), self.workspace.join("Cargo.lock")].into();
        for source in dependencies(&text) {
            let manifest = source.ancestors().map(|a| a.join("Cargo.toml")).find(|m| m.exists());
            watched.extend(manifest);
            watched.insert(source);
        }
        for path in watched {
            println!("cargo::rerun-if-changed={}", path.display());
        }
        Ok(())
    }
}

/// The paths behind the colon of a make rule, with escaped blanks.
fn dependencies(rule: &str) -> Vec<PathBuf> {
    let line = rule.lines().next().unwrap_or_default();
    let Some((_, list)) = line.split_once(": ") else { return Vec::new() };
    let joined = list.replace("\\ ", "\x1f");
    joined.split(' ').filter(|p| !p.is_empty()).map(|p| PathBuf::from(p.replace('\x1f', " "))).collect()
}

/// Takes away what the outer cargo (or clippy) set for this script and what would change how the
/// images are built. The job server stays, so that both builds together use the asked-for jobs.
fn clear_inherited(cargo: &mut Command) {
    let exact = [
        "RUSTFLAGS",
        "RUSTDOCFLAGS",
        "RUSTC_WORKSPACE_WRAPPER",
        "CLIPPY_ARGS",
        "CLIPPY_CONF_DIR",
        "OUT_DIR",
        "TARGET",
        "HOST",
        "PROFILE",
        "OPT_LEVEL",
        "DEBUG",
        "NUM_JOBS",
        "RUSTC",
        "RUSTDOC",
        "RUSTC_LINKER",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "CARGO_INCREMENTAL",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_MANIFEST_LINKS",
        "__CARGO_DEFAULT_LIB_METADATA",
    ];
    let prefixes = [
        "CARGO_BUILD_",
        "CARGO_PKG_",
        "CARGO_CFG_",
        "CARGO_FEATURE_",
        "CARGO_PROFILE_",
        "CARGO_BIN_",
        "CARGO_TARGET_",
        "DEP_",
    ];
    for (name, _) in env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        if exact.contains(&text) || prefixes.iter().any(|p| text.starts_with(p)) {
            cargo.env_remove(&name);
        }
    }
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|e| format!("{name}: {e}"))
}
