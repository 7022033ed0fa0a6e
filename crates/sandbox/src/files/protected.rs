//! Paths of a project whose content makes programs on the host run commands.

/// Whether writing to this path below a project could make the host run commands: hooks and
/// configuration of git, wherever a repository may lie, and the files that direnv and editors
/// take commands from. `/` separates names; case is ignored, as some file systems do.
pub fn is_protected(path: &[u8]) -> bool {
    let names: Vec<Vec<u8>> = path.split(|b| *b == b'/').map(<[u8]>::to_ascii_lowercase).collect();
    if names.iter().any(|name| matches!(&name[..], b".envrc" | b".vscode" | b".idea")) {
        return true;
    }
    let Some(git) = names.iter().position(|name| name == b".git") else { return false };
    let inside = &names[git + 1..];
    // Branches and objects may have any name.
    if matches!(inside.first().map(Vec::as_slice), Some(b"refs" | b"logs" | b"objects")) {
        return false;
    }
    // `commondir` and `gitdir` send git elsewhere for its configuration.
    inside
        .iter()
        .any(|name| matches!(&name[..], b"hooks" | b"config" | b"config.worktree" | b"commondir" | b"gitdir"))
}

/// Whether the last name is `.git`: as a file or link it sends git elsewhere for its configuration.
pub(super) fn names_a_repository(path: &[u8]) -> bool {
    path.rsplit(|b| *b == b'/').next().is_some_and(|name| name.eq_ignore_ascii_case(b".git"))
}

/// Whether the path leads through a folder named `.git`: a link in there could send git elsewhere.
pub(super) fn is_in_a_repository(path: &[u8]) -> bool {
    path.split(|b| *b == b'/').any(|name| name.eq_ignore_ascii_case(b".git"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protects_what_runs_commands_at_any_depth() {
        for path in [
            ".git/hooks",
            ".git/hooks/pre-commit",
            ".git/config",
            ".git/config.worktree",
            ".git/commondir",
            ".GIT/Hooks/x",
            "sub/.git/config",
            ".git/modules/m/config",
            ".git/modules/refs/hooks/x",
            ".envrc",
            "a/.envrc",
            ".vscode",
            ".vscode/tasks.json",
            ".idea/x",
        ] {
            assert!(is_protected(path.as_bytes()), "{path}");
        }
        for path in
            [".git", ".git/index", ".git/refs/heads/config", "config", "hooks/x", ".github/x", "x.envrc"]
        {
            assert!(!is_protected(path.as_bytes()), "{path}");
        }
        assert!(names_a_repository(b"a/.git") && !names_a_repository(b".git/x"));
    }
}
