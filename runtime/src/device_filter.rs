//! Which devices a container may open, on machines with cgroup v2.
//!
//! cgroup v2 has no device files: a small program attached to the group decides. Without one, a container with
//! CAP_MKNOD (which containerd's default includes) could make itself a node of the machine's disk. libcontainer can
//! only do this with a C library, so the program is written here, one rule after the other. v1 machines have
//! `devices.allow`, which libcontainer writes.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use libcontainer::oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use crate::files::at;

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
/// Groups below may add programs of their own; all have to agree.
const BPF_F_ALLOW_MULTI: u32 = 2;

const TYPE_BLOCK: i32 = 1;
const TYPE_CHAR: i32 = 2;
const ACCESS_MKNOD: i32 = 1;
const ACCESS_READ: i32 = 2;
const ACCESS_WRITE: i32 = 4;
const ACCESS_ALL: i32 = ACCESS_MKNOD | ACCESS_READ | ACCESS_WRITE;

/// One device, or a family of them, that may be used. `None` stands for any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    kind: Option<i32>,
    access: i32,
    major: Option<i32>,
    minor: Option<i32>,
}

/// Any node may be made, as in other runtimes; opening it is another matter. The rest are the nodes of every /dev.
const ALWAYS: [Rule; 12] = [
    Rule { kind: Some(TYPE_CHAR), access: ACCESS_MKNOD, major: None, minor: None },
    Rule { kind: Some(TYPE_BLOCK), access: ACCESS_MKNOD, major: None, minor: None },
    char_device(1, Some(3)),
    char_device(1, Some(5)),
    char_device(1, Some(7)),
    char_device(1, Some(8)),
    char_device(1, Some(9)),
    char_device(5, Some(0)),
    char_device(5, Some(1)),
    char_device(5, Some(2)),
    char_device(10, Some(200)),
    char_device(136, None),
];

const fn char_device(major: i32, minor: Option<i32>) -> Rule {
    Rule { kind: Some(TYPE_CHAR), access: ACCESS_ALL, major: Some(major), minor }
}

/// Limits the processes of the group at `folder` to these devices and those that every container has. `rules` are
/// `linux.resources.devices` of the specification: deny everything (or allow it), then exceptions.
pub(crate) fn attach(folder: &Path, rules: &[LinuxDeviceCgroup]) -> io::Result<()> {
    let everything =
        |rule: &LinuxDeviceCgroup| rule.major().is_none() && rule.minor().is_none() && rule.typ().is_none();
    if rules.iter().any(|rule| rule.allow() && everything(rule)) {
        return Ok(());
    }
    let asked = rules.iter().filter(|rule| rule.allow()).map(Rule::from);
    let rules: Vec<Rule> = ALWAYS.into_iter().chain(asked).collect();
    let program = load(&assemble(&rules)).map_err(at("load the device filter for", folder))?;
    let group = File::open(folder).map_err(at("open", folder))?;
    let attributes = AttachAttributes {
        target: group.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    bpf(BPF_PROG_ATTACH, &attributes).map(drop).map_err(at("attach the device filter to", folder))
}

impl From<&LinuxDeviceCgroup> for Rule {
    fn from(rule: &LinuxDeviceCgroup) -> Self {
        let kind = match rule.typ() {
            Some(LinuxDeviceType::B) => Some(TYPE_BLOCK),
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(TYPE_CHAR),
            _ => None,
        };
        let letters = rule.access().as_deref().unwrap_or("rwm");
        let bits = [('m', ACCESS_MKNOD), ('r', ACCESS_READ), ('w', ACCESS_WRITE)];
        let access = bits.iter().filter(|(letter, _)| letters.contains(*letter)).map(|(_, bit)| bit).sum();
        let number = |value: Option<i64>| value.and_then(|value| i32::try_from(value).ok()).filter(|v| *v >= 0);
        Self { kind, access, major: number(rule.major()), minor: number(rule.minor()) }
    }
}

/// An instruction of the kernel's virtual machine (`include/uapi/linux/bpf.h`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high half.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: to | (from << 4), offset, immediate }
}

// Opcodes: load a word, 32-bit arithmetic with a constant, jumps, exit.
const LOAD_WORD: u8 = 0x61;
const MOVE_CONSTANT: u8 = 0xb4;
const MOVE_REGISTER: u8 = 0xbc;
const AND_CONSTANT: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP_IF_NOT: u8 = 0x56;
const EXIT: u8 = 0x95;

/// The context's fields in registers: kind, access, major, minor.
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// A program that answers 1 if any rule covers the whole access, else 0.
fn assemble(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        instruction(LOAD_WORD, KIND, 1, 0, 0),
        instruction(MOVE_REGISTER, ACCESS, KIND, 0, 0),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(AND_CONSTANT, KIND, 0, 0, 0xffff),
        instruction(LOAD_WORD, MAJOR, 1, 4, 0),
        instruction(LOAD_WORD, MINOR, 1, 8, 0),
    ];
    for rule in rules {
        let forbidden = ACCESS_ALL & !rule.access;
        let mut block = Vec::new();
        if forbidden != 0 {
            block.push(instruction(MOVE_REGISTER, SCRATCH, ACCESS, 0, 0));
            block.push(instruction(AND_CONSTANT, SCRATCH, 0, 0, forbidden));
            block.push(instruction(JUMP_IF_NOT, SCRATCH, 0, 0, 0));
        }
        for (register, value) in [(KIND, rule.kind), (MAJOR, rule.major), (MINOR, rule.minor)] {
            block.extend(value.map(|value| instruction(JUMP_IF_NOT, register, 0, 0, value)));
        }
        block.push(instruction(MOVE_CONSTANT, 0, 0, 0, 1));
        block.push(instruction(EXIT, 0, 0, 0, 0));
        // A failed condition leads behind the block.
        let length = block.len();
        for (index, step) in block.iter_mut().enumerate().filter(|(_, step)| step.code == JUMP_IF_NOT) {
            // Blocks have at most nine instructions.
            step.offset = (length - index - 1) as i16;
        }
        program.extend(block);
    }
    program.push(instruction(MOVE_CONSTANT, 0, 0, 0, 0));
    program.push(instruction(EXIT, 0, 0, 0, 0));
    program
}

/// The head of `union bpf_attr` for BPF_PROG_LOAD; the kernel takes the rest as zero.
#[repr(C)]
struct LoadAttributes {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The head of `union bpf_attr` for BPF_PROG_ATTACH.
#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

#[allow(unsafe_code)]
fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let attributes = LoadAttributes {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(io::Error::other)?,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    let descriptor = bpf(BPF_PROG_LOAD, &attributes)?;
    // SAFETY: the kernel just made the descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[allow(unsafe_code)]
fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<i32> {
    // SAFETY: the attributes are plain structures of the size given, and what they point to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { i32::try_from(result).map_err(io::Error::other) }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What the kernel's machine would do with the program, for the few opcodes in use.
    fn decide(program: &[Instruction], kind: i32, access: i32, major: i32, minor: i32) -> bool {
        let mut registers = [0_i32; 11];
        let mut next = 0;
        loop {
            let step = program[next];
            let (to, from) = (usize::from(step.registers & 0xf), usize::from(step.registers >> 4));
            next += 1;
            match step.code {
                LOAD_WORD => {
                    registers[to] =
                        [kind | (access << 16), major, minor][usize::try_from(step.offset / 4).expect("offset")]
                }
                MOVE_CONSTANT => registers[to] = step.immediate,
                MOVE_REGISTER => registers[to] = registers[from],
                AND_CONSTANT => registers[to] &= step.immediate,
                SHIFT_RIGHT => registers[to] >>= step.immediate,
                JUMP_IF_NOT if registers[to] != step.immediate => {
                    next += usize::try_from(step.offset).expect("forward")
                }
                JUMP_IF_NOT => {}
                EXIT => return registers[0] == 1,
                other => panic!("opcode {other:#x}"),
            }
        }
    }

    #[test]
    fn rules_decide() {
        let disk = Rule { kind: Some(TYPE_BLOCK), access: ACCESS_READ, major: Some(8), minor: Some(0) };
        let program = assemble(&[&ALWAYS[..], &[disk]].concat());
        for (kind, access, major, minor, expected) in [
            (TYPE_CHAR, ACCESS_READ | ACCESS_WRITE, 1, 3, true),
            (TYPE_CHAR, ACCESS_WRITE, 136, 7, true),
            (TYPE_BLOCK, ACCESS_MKNOD, 8, 0, true),
            (TYPE_BLOCK, ACCESS_READ, 8, 0, true),
            (TYPE_BLOCK, ACCESS_WRITE, 8, 0, false),
            (TYPE_BLOCK, ACCESS_READ | ACCESS_MKNOD, 8, 0, false),
            (TYPE_BLOCK, ACCESS_READ, 8, 1, false),
            (TYPE_CHAR, ACCESS_READ, 1, 1, false),
            (TYPE_CHAR, ACCESS_READ, 1, 11, false),
            (TYPE_BLOCK, ACCESS_READ, 1, 3, false),
        ] {
            assert_eq!(decide(&program, kind, access, major, minor), expected, "{kind} {access} {major}:{minor}");
        }
    }

    #[test]
    fn the_kernel_enforces_it() {
        let text = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let point = text.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
        let point = point.expect("cgroup v2 is mounted, alone or beside v1");
        let group = Path::new(point).join(format!("skiff-test-devices-{}", std::process::id()));
        std::fs::create_dir(&group).expect("a cgroup");
        let deny = serde_json::from_value(serde_json::json!({ "allow": false, "access": "rwm" })).expect("a rule");
        let attached = attach(&group, &[deny]);
        let node = std::env::temp_dir().join(format!("skiff-test-kmsg-{}", std::process::id()));
        let script = format!(
            "echo $$ > {group}/cgroup.procs; head -c 1 /dev/zero > /dev/null || exit 1; mknod {node} c 1 11 || exit 2; \
             ! head -c 1 < {node} > /dev/null 2>&1 || exit 3; exit 0",
            group = group.display(),
            node = node.display(),
        );
        let status = Command::new("sh").args(["-c", &script]).status();
        let _ = std::fs::remove_file(&node);
        std::fs::remove_dir(&group).expect("remove the cgroup");
        attached.expect("attach");
        assert_eq!(status.expect("sh").code(), Some(0));
    }
}
