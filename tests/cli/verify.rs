//! `convgrad verify`: the rows it prints and the verdict it ends with.

use crate::{Folder, assert_success, backends};

#[test]
fn verify_knows_every_pass() {
    let folder = Folder::new();
    for pass in ["wgrad", "bgrad", "forward", "dgrad"] {
        for layout in ["nchw", "nhwc"] {
            let shapes = "mb2g2ic20ih6oc18kh3ph1 mb1ic3iw9oc2kw2sw2";
            let output =
                folder.convgrad(&format!("verify {shapes} --pass {pass} --layout {layout} --backend im2col,naive"));
            assert_success(&output);
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(text.ends_with("4 passed, none failed, 0 unsupported\n"), "{pass}: {text}");
        }
    }
}

#[test]
fn verify_accepts_all_backends() {
    let folder = Folder::new();
    for arguments in ["", "--layout nhwc --dtype f64", "--backend im2col,direct --isa scalar"] {
        let output = folder.convgrad(&format!("verify mb2g2ic20ih6oc18kh3ph1 mb1ic3iw9oc2kw2sw2 {arguments}"));
        assert_success(&output);
        let text = String::from_utf8(output.stdout).unwrap();
        let (backends, refusing) = if arguments.contains("im2col") { (2, 0) } else { (backends().len(), 2) };
        assert_eq!(text.lines().count(), 1 + 2 * backends + 1, "{text}");
        // `winograd` and `winograd-2x2` refuse the second shape.
        let passed = 2 * backends - refusing;
        assert_eq!(text.lines().filter(|line| line.contains("  ok  ")).count(), passed, "{text}");
        assert!(text.ends_with(&format!("{passed} passed, none failed, {refusing} unsupported\n")), "{text}");
    }
}
