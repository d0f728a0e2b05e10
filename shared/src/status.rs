//! How an agent fares, and where its process is between start and end.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// Every value, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word of the JSON contracts.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// From the word of the JSON contracts.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(crate) use words;

words! {
    /// How an agent fares. Any status may follow any other: it is the worst of the findings of
    /// the moment, and holds no memory of its own.
    Status {
        /// Nothing is wrong that anybody knows of.
        Ok = "ok",
        /// Nothing is known: the link is lost, or nothing was heard yet.
        Unknown = "unknown",
        /// Something is late or odd; nobody acts on it alone.
        Warning = "warning",
        /// Something is wrong; a person is told, and the ladder may act.
        Critical = "critical",
    }
}

words! {
    /// Where the supervised process is between start and end.
    ///
    /// ```text
    /// starting ─▶ running ─▶ stopping ─▶ restarting ─▶ starting ─▶ verifying ─▶ running
    ///                │           │            │
    ///                ▼           ▼            ▼
    ///         stopped, failed   stopped, quarantined, terminated
    /// ```
    Lifecycle {
        /// No process yet; the first start is on its way.
        Starting = "starting",
        /// The main process lives.
        Running = "running",
        /// It was asked to stop, or its tree is being swept.
        Stopping = "stopping",
        /// Down, and about to start again.
        Restarting = "restarting",
        /// Up again after a restart, still to be proven.
        Verifying = "verifying",
        /// Ended as asked, or by a clean exit.
        Stopped = "stopped",
        /// Ended by a failure that nothing restarts.
        Failed = "failed",
        /// Held down until a person starts it.
        Quarantined = "quarantined",
        /// Ended for good by apoptosis, until a person revives it.
        Terminated = "terminated",
    }
}

impl Status {
    /// The order in which `--exit-code` looks: critical, warning, unknown, ok.
    pub fn severity(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Unknown => 1,
            Self::Warning => 2,
            Self::Critical => 3,
        }
    }
}

impl Lifecycle {
    /// No process is meant to run.
    pub fn is_down(self) -> bool {
        match self {
            Self::Stopped | Self::Failed | Self::Quarantined | Self::Terminated => true,
            Self::Starting
            | Self::Running
            | Self::Stopping
            | Self::Restarting
            | Self::Verifying => false,
        }
    }
}
