//! A small disk of its own for one daemon: a tmpfs in a mount namespace, so that it can be filled
//! or made read-only under the daemon while the rest of the machine does not notice.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{eventually, stat_state};

const SOON: Duration = Duration::from_secs(10);

/// The namespace lives as long as this.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Child,
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one over a directory, inside the namespace only.
    pub fn over(path: &Path, kib: u32) -> Self {
        std::fs::create_dir_all(path).expect("a directory");
        let script = format!(
            "mount -t tmpfs -o size={kib}k,mode=0700 tmpfs {0} && mkdir {0}/d && \
             echo ready > {0}/mounted && exec cat",
            path.display()
        );
        let mut holder = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("unshare runs");
        let disk_is_there = || {
            assert!(holder.try_wait().expect("ours").is_none(), "unshare or mount failed");
            let root = format!("/proc/{}/root{}/mounted", holder.id(), path.display());
            Path::new(&root).exists().then_some(())
        };
        eventually("a small disk", SOON, disk_is_there);
        assert!(stat_state(holder.id()).is_some());
        Self { holder, path: path.to_owned() }
    }

    /// The directory on it that daemons use.
    pub fn directory(&self) -> PathBuf {
        self.path.join("d")
    }

    /// A command that runs inside.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--preserve-credentials", "--user", "--mount", "--target"])
            .arg(self.holder.id().to_string())
            .arg("--")
            .arg(program);
        command
    }

    fn run(&self, script: &str) -> String {
        let mut command = self.command(Path::new("sh"));
        let output = command.args(["-c", script]).output().expect("nsenter runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// Fills it, and proves that nothing fits any more.
    pub fn fill(&self) {
        let said = self.run(&format!("cat /dev/zero > {}/fill", self.path.display()));
        assert!(said.contains("No space left"), "it is full: {said}");
        let more = format!("head -c 65536 /dev/zero > {}/more", self.directory().display());
        let said = self.run(&more);
        assert!(said.contains("No space left"), "nothing fits: {said}");
    }

    /// Makes room again.
    pub fn make_room(&self) {
        self.run(&format!("rm {0}/fill {1}/more", self.path.display(), self.directory().display()));
    }

    /// Makes the directory read-only for whoever opens something in it, and proves it. What is
    /// open already stays writable, as the kernel has it.
    pub fn make_read_only(&self) {
        let directory = self.directory();
        let bind = "mount --bind {0} {0} && mount -o remount,bind,ro {0}";
        self.run(&bind.replace("{0}", &directory.display().to_string()));
        let said = self.run(&format!("echo more > {}/more", directory.display()));
        assert!(said.contains("Read-only file system"), "it is read-only: {said}");
    }

    /// The directory can be written again.
    pub fn make_writable(&self) {
        let said = self.run(&format!("umount {}", self.directory().display()));
        assert_eq!(said, "", "it is writable again");
    }

    /// A path as this process sees it.
    pub fn seen(&self, path: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.holder.id(), path.display()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.holder.stdin.take() {
            drop(stdin.flush());
        }
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}
