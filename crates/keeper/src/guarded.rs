//! Noticing that a protected path of a writable project is protected no longer.
//!
//! The kernel drops a mount when what it lies on is replaced or removed, which programs on the host
//! may do: git itself replaces `.git/config`. What stands there then can be written inside.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, StatVfsMountFlags, fstatvfs, openat2};
use rustix::io::Errno;
use sessile_model::ids::AppName;
use sessile_model::record::Grant;
use sessile_model::wire::Event as Told;

use crate::keeper::Keeper;
use crate::plan;

impl Keeper {
    /// Looks whether each protected path is still read-only inside, and says so once where it is not:
    /// in the record and to everyone attached. A path that cannot be looked at is passed over.
    pub(crate) fn look_at_protected(&mut self) {
        let Some(lost) = self.unprotected() else { return };
        let Some(facts) = &mut self.facts else { return };
        for path in lost {
            let notice = format!(
                "{path} was replaced or removed on the host and is no longer protected: a program inside can \
                 write it"
            );
            if facts.notices.contains(&notice) {
                continue;
            }
            facts.notices.push(notice.clone());
            self.changed = true;
            for client in self.clients.values_mut() {
                let channels: Vec<u16> = client.attachments.keys().copied().collect();
                for channel in channels {
                    client.tell(channel, &Told::Notice { text: notice.clone() });
                }
            }
        }
    }

    /// Protected paths that are read-only no longer; `None` where nothing is to be protected or seen.
    fn unprotected(&self) -> Option<Vec<String>> {
        let facts = self.facts.as_ref()?;
        let protected = facts.grants.iter().find_map(|grant| match grant {
            Grant::Project { protected, .. } => Some(protected).filter(|paths| !paths.is_empty()),
            Grant::Mount { .. }
            | Grant::Tools { .. }
            | Grant::Env { .. }
            | Grant::Host { .. }
            | Grant::Policy { .. }
            | Grant::Credential { .. }
            | Grant::Port { .. }
            | Grant::Export { .. }
            | Grant::Applied { .. }
            | Grant::Recording { .. }
            | Grant::SshAgent { .. } => None,
        })?;
        let target = plan::project_target(&facts.spec)?;
        let names: Vec<AppName> = self.apps.keys().cloned().collect();
        let lost = |root: &OwnedFd, path: &String| {
            let inside = target.strip_prefix("/").unwrap_or(&target).join(path);
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            // Nothing that an app puts in the way is followed.
            match openat2(root.as_fd(), inside, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
                Ok(found) => fstatvfs(found).is_ok_and(|s| !s.f_flag.contains(StatVfsMountFlags::RDONLY)),
                Err(errno) => matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP),
            }
        };
        let roots: Vec<OwnedFd> = names.iter().filter_map(|name| self.root_of(name)).collect();
        Some(protected.iter().filter(|path| roots.iter().any(|root| lost(root, path))).cloned().collect())
    }
}
