//! The collector's file and flags, parsed once into values that need no second look.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::Args;
use lubdub_shared::strict_toml::{self, Refused};
use serde::Deserialize;

pub mod policy;

pub use policy::Policies;

/// Where sidecars connect.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7411";
/// Where browsers and probes look.
pub const DEFAULT_HTTP: &str = "127.0.0.1:7412";

/// 100,000 agents at a report each 5 s.
const REPORTS_PER_SECOND: u32 = 20_000;

/// Flags of `lubdub-collector`; `lubdub up` has most of them too.
#[derive(Debug, Clone, Default, Args)]
pub struct Flags {
    /// Policy file: `[policy.NAME]` and `[[assign]]`; wins over the tables in --config.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Address for sidecars and the command line. [default: 127.0.0.1:7411]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Address for HTTP. [default: 127.0.0.1:7412]
    #[arg(long, value_name = "ADDR")]
    pub http: Option<SocketAddr>,
    /// Directory of the store. [default: $XDG_STATE_HOME/lubdub/collector]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Write every input of the engine there, for `lubdub replay`. Rotated at 256 MiB; three older
    /// files are kept as FILE.1 to FILE.3.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// The collector's file. Every key may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    listen: Option<SocketAddr>,
    http: Option<SocketAddr>,
    data_dir: Option<PathBuf>,
    reports_per_second: Option<NonZeroU32>,
    #[serde(default)]
    http_names: Vec<String>,
    #[serde(default)]
    policy: policy::Tables,
    #[serde(default)]
    assign: Vec<policy::Assign>,
}

/// Everything a collector needs to know.
#[derive(Debug)]
pub struct Config {
    /// For sidecars and the command line.
    pub listen: SocketAddr,
    /// For HTTP.
    pub http: SocketAddr,
    /// Directory of the store.
    pub data_dir: PathBuf,
    /// Reports that it takes in a second: sidecars of a larger fleet report less often.
    pub reports_per_second: u32,
    /// Names by which browsers may call the HTTP port, beside localhost and this machine's own.
    pub http_names: Vec<String>,
    /// What is decided by settings.
    pub policies: Policies,
    /// Every input of the engine is recorded there.
    pub record: Option<PathBuf>,
    /// Where these came from, to be read again at SIGHUP; `None` leaves that signal alone.
    pub source: Option<PolicySource>,
}

/// Where policies come from.
#[derive(Debug, Clone, Default)]
pub struct PolicySource {
    config: Option<PathBuf>,
    policy: Option<PathBuf>,
}

impl PolicySource {
    /// Reads the policies again.
    ///
    /// # Errors
    /// A file cannot be read or holds a mistake; file, line and key are named.
    pub fn read(&self) -> Result<Policies, Refused> {
        match (&self.policy, &self.config) {
            (Some(path), _) => Policies::read(path),
            (None, Some(path)) => {
                let (name, file) = read::<File>(path)?;
                Policies::new(&name, file.policy, file.assign)
            }
            (None, None) => Policies::new("", policy::Tables::new(), Vec::new()),
        }
    }
}

impl Config {
    /// Puts together file and flags; flags win. `default_root` holds `collector/` unless a
    /// directory is named.
    ///
    /// # Errors
    /// A file cannot be read or holds a mistake; file, line and key are named.
    pub fn load(
        file: Option<&Path>,
        flags: Flags,
        default_root: Option<&Path>,
    ) -> Result<Self, Refused> {
        let file_path = file.map(Path::to_owned);
        let (name, file) = match file {
            Some(path) => read::<File>(path)?,
            None => (String::new(), File::default()),
        };
        let policies = match &flags.policy {
            Some(path) => Policies::read(path)?,
            None => Policies::new(&name, file.policy, file.assign)?,
        };
        let default = |text: &str| text.parse().expect("a constant address");
        let directory = flags.data_dir.or(file.data_dir);
        let directory = directory.or_else(|| default_root.map(|root| root.join("collector")));
        let data_dir = directory.ok_or_else(|| {
            Refused::new("data_dir", "neither XDG_STATE_HOME nor HOME is set; name a --data-dir")
        })?;
        Ok(Self {
            listen: flags.listen.or(file.listen).unwrap_or_else(|| default(DEFAULT_LISTEN)),
            http: flags.http.or(file.http).unwrap_or_else(|| default(DEFAULT_HTTP)),
            data_dir,
            reports_per_second: file.reports_per_second.map_or(REPORTS_PER_SECOND, u32::from),
            http_names: file.http_names,
            policies,
            record: flags.record,
            source: Some(PolicySource { config: file_path, policy: flags.policy }),
        })
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<(String, T), Refused> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Refused::new(&name, format!("cannot read it: {error}")))?;
    let parsed = strict_toml::parse(&name, &text)?;
    Ok((name, parsed))
}
