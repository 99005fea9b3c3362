//! placeholder

use super::estimate::{Fitted, Rates};

pub(super) const REFERENCE: &[(&str, &str, Rates)] = &[
    (
        "avx512",
        "f32",
        Rates { peak_flops: 250e9, l2: 120e9, l3: 60e9, dram: 40e9, l2_bytes: 1048576.0, l3_bytes: 33554432.0 },
    ),
    (
        "avx2",
        "f32",
        Rates { peak_flops: 122e9, l2: 100e9, l3: 60e9, dram: 40e9, l2_bytes: 1048576.0, l3_bytes: 33554432.0 },
    ),
    (
        "scalar",
        "f32",
        Rates { peak_flops: 12e9, l2: 14e9, l3: 14e9, dram: 14e9, l2_bytes: 1048576.0, l3_bytes: 33554432.0 },
    ),
];
pub(super) const FITTED: &[Fitted] = &[];
