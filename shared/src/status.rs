//! How an agent fares, and where its process is between start and end.

/// A closed set of words. One that is marked `open` also holds `Other`: a word of a newer peer or
/// of a newer store, which this version does not know. It is carried and shown, never chosen: it
/// is not among `ALL`, and no file and no agent can name it.
macro_rules! words {
    ($(#[$doc:meta])* open $name:ident {
        $($(#[$vdoc:meta])* $variant:ident = $text:literal,)*
    }) => {
        $crate::status::words! {
            @enum $(#[$doc])* $name {
                $($(#[$vdoc])* #[serde(rename = $text)] $variant = $text,)*
            } {
                /// A word that this version does not know.
                #[serde(other, rename = "other")]
                Other = "other",
            }
        }

        impl $name {
            /// The same, from what a newer version may have written.
            pub fn from_any_word(word: &str) -> Self {
                Self::from_word(word).unwrap_or(Self::Other)
            }

            /// For a file that people write: a word that is not known is a mistake there.
            ///
            /// # Errors
            /// The word is not known; those that are.
            pub fn chosen<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                const WORDS: &[&str] = &[$($text,)*];
                let word = <String as serde::Deserialize>::deserialize(from)?;
                Self::from_word(&word)
                    .ok_or_else(|| serde::de::Error::unknown_variant(&word, WORDS))
            }
        }
    };
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $crate::status::words! {
            @enum $(#[$doc])* $name {
                $($(#[$vdoc])* #[serde(rename = $text)] $variant = $text,)*
            } {}
        }
    };
    (@enum $(#[$doc:meta])* $name:ident {
        $($(#[$vdoc:meta])* $variant:ident = $text:literal,)*
    } {
        $($(#[$odoc:meta])* $other:ident = $otext:literal,)?
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
            $($(#[$odoc])* $other,)?
        }

        impl $name {
            /// Every value that can be chosen, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word of the JSON contracts.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    $(Self::$other => $otext,)?
                }
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
    open Lifecycle {
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
            | Self::Verifying
            | Self::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_not_known_is_carried_and_never_chosen() {
        assert_eq!(Lifecycle::from_word("hibernating"), None);
        assert_eq!(Lifecycle::from_word("other"), None);
        assert_eq!(Lifecycle::from_any_word("hibernating"), Lifecycle::Other);
        assert!(!Lifecycle::ALL.contains(&Lifecycle::Other));
        let read: Lifecycle = serde_json::from_str("\"hibernating\"").expect("any word");
        assert_eq!(read, Lifecycle::Other);
        assert_eq!(serde_json::to_string(&read).expect("a word"), "\"other\"");
        assert!(serde_json::from_str::<Status>("\"fine\"").is_err(), "a closed word");
    }
}
