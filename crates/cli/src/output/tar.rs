//! The smallest tar there can be: one program, for the built-in image.

/// A tar (ustar) that holds one executable file of root's, dated 1970.
pub(crate) fn one_program(name: &str, content: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut header = [0u8; BLOCK];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000755\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", content.len()).as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut tar = header.to_vec();
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
    tar
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    #[test]
    fn tar_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("one.tar");
        std::fs::write(&path, super::one_program("hello", b"content")).unwrap();
        let listed = Command::new("tar").arg("-tvf").arg(&path).stderr(Stdio::inherit()).output().unwrap();
        let text = String::from_utf8(listed.stdout).unwrap();
        assert!(text.starts_with("-rwxr-xr-x 0/0") && text.trim_end().ends_with("hello"), "{text}");
    }
}
