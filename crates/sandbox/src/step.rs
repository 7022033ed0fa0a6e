//! The steps of a launch, and how a launcher tells which of them failed.

use std::fmt;

use rustix::io::Errno;

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// A step of launching an app.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Step {
            $($(#[$doc])* $name,)*
        }

        impl Step {
            const ALL: &[Self] = &[$(Self::$name),*];
        }

        impl fmt::Display for Step {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$name => $text),* })
            }
        }
    };
}

steps! {
    /// Joining the session's namespaces.
    JoinSpace = "joining the session's namespaces",
    /// Joining a version 1 control group.
    JoinCgroup = "joining the control group",
    /// Taking on the session's user id.
    Ids = "taking on the session's user id",
    /// Making the app's namespaces.
    Namespaces = "making the app's namespaces",
    /// Mapping the app's ids.
    IdMap = "mapping the app's user id",
    /// Forbidding further user namespaces.
    Nesting = "forbidding further namespaces",
    /// Bringing the loopback device up.
    Loopback = "bringing the loopback device up",
    /// Capturing the network.
    Capture = "capturing the network",
    /// Setting the host name.
    Hostname = "setting the host name",
    /// Making the root folder's skeleton.
    Skeleton = "making the root folder",
    /// Showing the system's folders.
    SystemTrees = "showing the system's folders",
    /// Filling /etc.
    Etc = "filling /etc",
    /// Filling /dev.
    Devices = "filling /dev",
    /// Mounting /proc.
    Processes = "mounting /proc",
    /// Hiding parts of /proc.
    Masks = "hiding parts of /proc",
    /// Mounting a granted folder.
    Grants = "mounting a granted folder",
    /// Protecting a path of the project.
    Protection = "protecting a path of the project",
    /// Entering the root folder.
    Root = "entering the root folder",
    /// Handing over descriptors.
    Handover = "handing over descriptors",
    /// Dropping capabilities.
    Capabilities = "dropping capabilities",
    /// Enforcing Landlock.
    Landlock = "enforcing Landlock",
    /// Setting resource limits.
    Limits = "setting resource limits",
    /// Tying the app to the session's anchor.
    Parent = "tying the app to its session",
    /// Arranging init's descriptors.
    Descriptors = "arranging descriptors",
    /// Executing init.
    Exec = "executing init",
}

/// A step that failed in a launcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub step: Step,
    pub errno: Errno,
    /// What the step was working on; may be empty.
    pub what: String,
}

/// Longest detail that is sent: the rest of a path is not worth a larger message.
const MAX_DETAIL: usize = 300;

impl Fault {
    /// As the payload of an error message.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![b'E', self.step as u8];
        bytes.extend(self.errno.raw_os_error().to_le_bytes());
        bytes.extend(self.what.bytes().take(MAX_DETAIL));
        bytes
    }

    /// Reads back what [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(b"E")?;
        let (&step, rest) = rest.split_first()?;
        let (errno, what) = rest.split_first_chunk::<4>()?;
        Some(Self {
            step: *Step::ALL.get(usize::from(step))?,
            errno: Errno::from_raw_os_error(i32::from_le_bytes(*errno)),
            what: String::from_utf8_lossy(what).into_owned(),
        })
    }
}

/// Names the step at which a system call failed.
pub(crate) trait At<T> {
    fn at(self, step: Step) -> Result<T, Fault>;
    fn on(self, step: Step, what: &str) -> Result<T, Fault>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: Step) -> Result<T, Fault> {
        self.on(step, "")
    }

    fn on(self, step: Step, what: &str) -> Result<T, Fault> {
        self.map_err(|errno| Fault { step, errno, what: what.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_survive_the_way_to_the_caller() {
        for (number, &step) in Step::ALL.iter().enumerate() {
            assert_eq!(step as usize, number);
            let fault = Fault { step, errno: Errno::NOSPC, what: "/proc/kcore".into() };
            assert_eq!(Fault::decode(&fault.encode()), Some(fault));
        }
        assert_eq!(Fault::decode(b"E\xff\0\0\0\0"), None);
        assert_eq!(Fault::decode(b"E\0\0"), None);
        assert_eq!(Fault::decode(b""), None);
    }
}
