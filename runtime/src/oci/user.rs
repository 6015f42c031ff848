//! Who a container runs as: numbers, or names looked up in the image's own passwd and group files.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use serde::{Deserialize, Serialize};
use skiff_cri::v1;

use super::rootfs::read_in;

/// The resolved identity of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    /// Home folder, `/` if unknown.
    pub(crate) home: String,
}

#[derive(Debug, PartialEq, Eq)]
struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn passwd_entries(text: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or("/");
        Some(PasswdEntry { name, uid, gid, home })
    })
}

/// Name, id and members of each group.
fn group_entries(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

/// Resolves the user of a container. `image_user` is the image's `user[:group]`; what the security context says wins.
/// A group without a user is refused, as by containerd.
pub(crate) fn resolve(
    root: impl AsFd,
    context: &v1::LinuxContainerSecurityContext,
    image_user: &str,
) -> io::Result<User> {
    if let Some(group) = &context.run_as_group
        && context.run_as_user.is_none()
        && context.run_as_username.is_empty()
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("user group {} is specified without user", group.value),
        ));
    }
    let passwd = read_in(&root, Path::new("/etc/passwd"))?;
    let group = read_in(&root, Path::new("/etc/group"))?;
    resolve_with(&passwd, &group, context, image_user).map_err(|text| io::Error::new(io::ErrorKind::NotFound, text))
}

fn resolve_with(
    passwd: &str,
    group: &str,
    context: &v1::LinuxContainerSecurityContext,
    image_user: &str,
) -> Result<User, String> {
    let asked = match (&context.run_as_user, context.run_as_username.as_str()) {
        (Some(user), _) => user.value.to_string(),
        (None, "") => image_user.to_owned(),
        (None, name) => name.to_owned(),
    };
    let (user, own_group) = asked.split_once(':').map_or((asked.as_str(), ""), |(user, group)| (user, group));
    let user = if user.is_empty() { "0" } else { user };
    // A number is an id, never a name: an image could name a user `1000` that is root, and so get around runAsNonRoot.
    let number: Option<u32> = user.parse().ok();
    let entry = passwd_entries(passwd).find(|entry| match number {
        Some(uid) => entry.uid == uid,
        None => entry.name == user,
    });
    let uid = number
        .or(entry.as_ref().map(|entry| entry.uid))
        .ok_or_else(|| format!("unable to find user {user}: no matching entries in passwd file"))?;
    let gid = match (&context.run_as_group, own_group) {
        (Some(group), _) => u32::try_from(group.value).map_err(|_| format!("invalid group id {}", group.value))?,
        (None, "") => entry.as_ref().map_or(0, |entry| entry.gid),
        (None, name) => find_group(group, name)?,
    };
    let mut groups = vec![gid];
    for extra in &context.supplemental_groups {
        groups.push(u32::try_from(*extra).map_err(|_| format!("invalid group id {extra}"))?);
    }
    if context.supplemental_groups_policy() == v1::SupplementalGroupsPolicy::Merge
        && let Some(entry) = &entry
    {
        let member = |members: &str| members.split(',').any(|member| member == entry.name);
        groups.extend(group_entries(group).filter(|(_, _, members)| member(members)).map(|(_, gid, _)| gid));
    }
    groups.sort_unstable();
    groups.dedup();
    let home = entry.map(|entry| entry.home).filter(|home| !home.is_empty()).unwrap_or("/").to_owned();
    Ok(User { uid, gid, groups, home })
}

fn find_group(text: &str, asked: &str) -> Result<u32, String> {
    let named = || group_entries(text).find(|(name, ..)| *name == asked).map(|(_, gid, _)| gid);
    // As with users, a number is an id.
    let number: Option<u32> = asked.parse().ok();
    number.or_else(named).ok_or_else(|| format!("unable to find group {asked}: no matching entries in group file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:100::/home/app:/bin/sh\n12:x:0:0::/x:\nbad line\n";
    const GROUP: &str = "root:x:0:\nusers:x:100:app\ndocker:x:999:bob,app\n5:x:0:\n";

    fn check(image_user: &str, context: v1::LinuxContainerSecurityContext, expected: (u32, u32, &[u32], &str)) {
        let user = resolve_with(PASSWD, GROUP, &context, image_user).expect("known user");
        assert_eq!((user.uid, user.gid, user.groups.as_slice(), user.home.as_str()), expected, "{image_user}");
    }

    fn context(user: Option<i64>, group: Option<i64>) -> v1::LinuxContainerSecurityContext {
        let value = |value| v1::Int64Value { value };
        v1::LinuxContainerSecurityContext {
            run_as_user: user.map(value),
            run_as_group: group.map(value),
            ..Default::default()
        }
    }

    #[test]
    fn users_by_name_and_number() {
        check("", context(None, None), (0, 0, &[0], "/root"));
        check("app", context(None, None), (1000, 100, &[100, 999], "/home/app"));
        check("1000", context(None, None), (1000, 100, &[100, 999], "/home/app"));
        check("app:docker", context(None, None), (1000, 999, &[100, 999], "/home/app"));
        check("app:5", context(None, None), (1000, 5, &[5, 100, 999], "/home/app"));
        check("4242", context(None, None), (4242, 0, &[0], "/"));
        // Numbers that the image uses as names of root and its group.
        check("12", context(None, None), (12, 0, &[0], "/"));
        check("app", context(Some(12), Some(5)), (12, 5, &[5], "/"));
        check("app", context(Some(65534), Some(7)), (65534, 7, &[7], "/"));
        check("app", context(Some(1000), None), (1000, 100, &[100, 999], "/home/app"));
    }

    #[test]
    fn supplemental_groups() {
        let mut asked = context(None, None);
        asked.supplemental_groups = vec![50, 100];
        check("app", asked.clone(), (1000, 100, &[50, 100, 999], "/home/app"));
        asked.supplemental_groups_policy = v1::SupplementalGroupsPolicy::Strict.into();
        check("app", asked, (1000, 100, &[50, 100], "/home/app"));
    }

    #[test]
    fn a_group_needs_a_user() {
        let root = std::fs::File::open("/").expect("a root");
        let error = resolve(&root, &context(None, Some(7)), "app").expect_err("no user");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), "user group 7 is specified without user");
        let root_user = resolve(&root, &context(Some(0), Some(7)), "").expect("a user");
        assert_eq!((root_user.uid, root_user.gid), (0, 7));
    }

    #[test]
    fn unknown_names() {
        let error = |user| resolve_with(PASSWD, GROUP, &context(None, None), user).expect_err(user);
        assert_eq!(error("eve"), "unable to find user eve: no matching entries in passwd file");
        assert_eq!(error("app:none"), "unable to find group none: no matching entries in group file");
    }
}
