//! Named sets of named shapes: the one list that benches draw from, and any program that compares backends may.
//!
//! A set is a text file of the problem grammar (see [`NamedShape`]) whose first line says what it is. Adding one is that
//! file and one line in the list below; every reader iterates the list. A network is listed at batch 8 unless its file
//! says otherwise, each distinct convolution once, under the name its authors' published model gives the first of those
//! layers; the comment behind it, `# 3 times`, counts them. A name means one shape, in whichever sets it occurs.

use crate::shape::NamedShape;

/// A named set of shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShapeSet {
    name: &'static str,
    text: &'static str,
}

impl ShapeSet {
    /// The name by which users choose this set.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// One line on what the set holds.
    pub fn description(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches('#').trim()
    }

    /// The file itself: a shape a line, in canonical form, and comments.
    pub fn text(&self) -> &'static str {
        self.text
    }

    /// The shapes, in the order of their file.
    pub fn shapes(&self) -> Vec<NamedShape> {
        NamedShape::read_list(self.text).expect("tests/catalogue.rs reads every set")
    }

    /// How often the network has each of the [`shapes`](Self::shapes): the number in the comment `# 3 times` behind the
    /// shape, where more may follow after a comma, and 1 where there is none.
    ///
    /// ```
    /// let sets = convgrad::catalog::sets();
    /// let vgg16 = sets.iter().find(|set| set.name() == "vgg16").expect("the set exists");
    /// assert_eq!(vgg16.repetitions(), [1, 1, 1, 1, 1, 2, 1, 2, 3]);
    /// ```
    pub fn repetitions(&self) -> Vec<usize> {
        let lines = self.text.lines().map(|line| line.split_once('#').unwrap_or((line, "")));
        lines
            .filter(|(shape, _)| !shape.trim().is_empty())
            .map(|(_, comment)| {
                comment.split_once(" times").and_then(|(count, _)| count.trim().parse().ok()).unwrap_or(1)
            })
            .collect()
    }
}

/// All sets: those for quick runs first, then layers and networks, small before large.
///
/// ```
/// for set in convgrad::catalog::sets() {
///     println!("{:13} {:3} shapes: {}", set.name(), set.shapes().len(), set.description());
/// }
/// ```
pub fn sets() -> &'static [ShapeSet] {
    &SETS
}

/// The shapes of the set of this name, if there is one.
///
/// ```
/// let layers = convgrad::catalog::set("resnet50").expect("the set exists");
/// assert_eq!(layers[0].to_string(), "mb8ic3ih224oc64oh112kh7sh2ph3n\"resnet_50:conv1\"");
/// assert!(convgrad::catalog::set("resnet51").is_none());
/// ```
pub fn set(name: &str) -> Option<Vec<NamedShape>> {
    SETS.iter().find(|set| set.name == name).map(ShapeSet::shapes)
}

static SETS: [ShapeSet; 15] = [
    ShapeSet { name: "core", text: include_str!("catalog/core.txt") },
    ShapeSet { name: "example", text: include_str!("catalog/example.txt") },
    ShapeSet { name: "tiny", text: include_str!("catalog/tiny.txt") },
    ShapeSet { name: "lenet", text: include_str!("catalog/lenet.txt") },
    ShapeSet { name: "image", text: include_str!("catalog/image.txt") },
    ShapeSet { name: "mobilenet", text: include_str!("catalog/mobilenet.txt") },
    ShapeSet { name: "mobilenet_v2", text: include_str!("catalog/mobilenet_v2.txt") },
    ShapeSet { name: "googlenet", text: include_str!("catalog/googlenet.txt") },
    ShapeSet { name: "resnet50", text: include_str!("catalog/resnet50.txt") },
    ShapeSet { name: "resnet50_v1.5", text: include_str!("catalog/resnet50_v1.5.txt") },
    ShapeSet { name: "vgg16", text: include_str!("catalog/vgg16.txt") },
    ShapeSet { name: "unet", text: include_str!("catalog/unet.txt") },
    ShapeSet { name: "wavenet", text: include_str!("catalog/wavenet.txt") },
    ShapeSet { name: "video", text: include_str!("catalog/video.txt") },
    ShapeSet { name: "deepbench", text: include_str!("catalog/deepbench.txt") },
];
