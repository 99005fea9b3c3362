//! The innermost loops of a function, found in its flow and not in the order of its instructions.
//!
//! Compilers lay the parts of a loop in any order, the end of a step before its beginning if that saves a jump. So a jump
//! back does not tell where a loop begins, and what lies between two places does not tell what is run between them.
//!
//! ```text
//! innermost(code):  for each set of instructions in which all reach all others:
//!     inner = innermost(set without its entry);   the set itself where inner is empty, else inner
//! ```

use super::listing::Function;
use std::collections::BTreeSet;

/// Positions of instructions.
pub type Body = BTreeSet<usize>;

/// The innermost loops, each as the positions of its instructions.
pub fn innermost(function: &Function) -> Vec<Body> {
    let flow = Flow::of(function);
    flow.innermost(&(0..function.instructions.len()).collect())
}

/// Which instructions follow, and precede, each one.
struct Flow {
    after: Vec<Vec<usize>>,
    before: Vec<Vec<usize>>,
}

impl Flow {
    fn of(function: &Function) -> Flow {
        let code = &function.instructions;
        let mut flow = Flow { after: vec![Vec::new(); code.len()], before: vec![Vec::new(); code.len()] };
        for (position, instruction) in code.iter().enumerate() {
            let goes_on = !matches!(instruction.mnemonic.as_str(), "jmp" | "ret" | "ud2") && !instruction.panics();
            let next = Some(position + 1).filter(|&next| goes_on && next < code.len());
            let target = instruction.target().and_then(|target| function.position(target));
            for after in next.into_iter().chain(target) {
                flow.after[position].push(after);
                flow.before[after].push(position);
            }
        }
        flow
    }

    fn innermost(&self, within: &Body) -> Vec<Body> {
        let mut found = Vec::new();
        let mut rest = within.clone();
        // Every loop jumps back somewhere.
        for &start in within {
            if !rest.contains(&start) || !self.before[start].iter().any(|&jump| jump >= start && within.contains(&jump))
            {
                continue;
            }
            let from = Flow::reached(start, &self.after, &rest);
            let body: Body = Flow::reached(start, &self.before, &rest).intersection(&from).copied().collect();
            if body.is_empty() {
                continue;
            }
            rest.retain(|position| !body.contains(position));
            let is_entry = |position: &&usize| self.before[**position].iter().any(|before| !body.contains(before));
            let entry = body.iter().find(is_entry).copied().unwrap_or(start);
            let mut without_entry = body.clone();
            without_entry.remove(&entry);
            let inner = self.innermost(&without_entry);
            found.extend(if inner.is_empty() { vec![body] } else { inner });
        }
        found
    }

    /// What is reached from `start` in one step or more, without leaving `within`.
    fn reached(start: usize, steps: &[Vec<usize>], within: &Body) -> Body {
        let mut reached = Body::new();
        let mut next = vec![start];
        while let Some(position) = next.pop() {
            next.extend(steps[position].iter().filter(|&step| within.contains(step) && reached.insert(*step)));
        }
        reached
    }
}
