//! The search for a layer in a module, by the layer's address.

use candle_core::Tensor;

use crate::scope::{LayerIdentity, Searchable, Segment};

use super::{Module, Visitor};

impl<M: Module + ?Sized> Searchable for &M {
    fn identity(&self) -> LayerIdentity {
        M::identity(self)
    }

    fn path_to(&self, layer: &LayerIdentity) -> Option<Vec<Segment>> {
        // Search small depths first: each level multiplies the number of layers, and most layers that are called
        // through a reference are elements of fields, or layers in such an element. A zero-sized layer has no unique
        // address and must be compared with all layers.
        let depths = if layer.is_unique() { &[1, 2, usize::MAX][..] } else { &[usize::MAX] };
        depths.iter().find_map(|&depth| {
            let mut search = Search { layer, depth, path: None, is_ambiguous: false };
            self.visit_fields(&mut search);
            let mut path = search.path.filter(|_| !search.is_ambiguous)?;
            path.reverse();
            Some(path)
        })
    }
}

/// The visitor that searches for a layer.
struct Search<'a> {
    layer: &'a LayerIdentity,
    /// The number of levels that the search may still descend into modules whose memory does not contain the layer. The
    /// memory of a `Vec`, for example, does not contain its elements. The search always descends into modules whose
    /// memory contains the layer.
    depth: usize,
    /// The path of the layer, innermost segment first. Nothing is allocated before the layer is found.
    path: Option<Vec<Segment>>,
    /// Whether several zero-sized layers have the identity of `layer`.
    is_ambiguous: bool,
}

impl<'a> Visitor<'a> for Search<'_> {
    fn parameter(&mut self, _: &str, _: &'a Tensor) {}

    fn buffer(&mut self, _: &str, _: &'a Tensor) {}

    fn child(&mut self, name: &str, child: &'a dyn Module) {
        if self.path.is_some() && self.layer.is_unique() {
            return;
        }
        let earlier_path = self.path.take();
        let identity = child.identity();
        if identity == *self.layer {
            self.path = Some(Vec::new());
        } else if self.depth > 0 || identity.contains(self.layer) {
            let depth = self.depth;
            self.depth = depth.saturating_sub(1);
            child.visit_fields(self);
            self.depth = depth;
        }
        if let Some(path) = &mut self.path {
            path.push(Segment::Dynamic(name.into()));
        }
        self.is_ambiguous |= earlier_path.is_some() && self.path.is_some();
        self.path = earlier_path.or(self.path.take());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::prelude::*;
    use crate::scope::{Path, run_field, run_reference};

    /// Returns the path of `layer` in `module`.
    fn path<M: Module, L: Module + ?Sized>(layer: &L, module: &M) -> String {
        run_field(&module, || run_reference(&layer, || Path::current().to_string()))
    }

    fn linear(width: usize) -> Linear {
        Linear::config(width, width).init(&Device::Cpu).expect("the layer is valid")
    }

    #[test]
    fn layers_are_found_by_address() {
        let list = vec![linear(1), linear(2)];
        assert_eq!(path(&list[1], &list), "[1]");
        let nested = (Relu, vec![Some(linear(1)), None, Some(linear(3))]);
        let third = nested.1[2].as_ref().expect("the element was set above");
        assert_eq!(path(third, &nested), "[1][2]");
        assert_eq!(path(&nested.1[2], &nested), "[1][2]");
        let lists = vec![vec![(linear(1), linear(2))], vec![(linear(1), linear(2)), (linear(3), linear(4))]];
        assert_eq!(path(&lists[1][1], &lists), "[1][1]");
        assert_eq!(path(&lists[1][1].0, &lists), "[1][1][0]");
        let deeper = vec![lists];
        assert_eq!(path(&deeper[0][1][0].1, &deeper), "[0][1][0][1]");
    }

    #[test]
    fn a_layer_and_the_module_around_it_differ_although_they_share_an_address() {
        let list = [[[linear(1)]]];
        assert_eq!(path(&list[0], &list), "[0]");
        assert_eq!(path(&list[0][0], &list), "[0][0]");
        assert_eq!(path(&list[0][0][0], &list), "[0][0][0]");
    }

    #[test]
    fn a_pointer_has_the_path_of_its_target() {
        let boxed: Vec<Box<dyn Layer>> = vec![Box::new(linear(1)), Box::new(vec![linear(2)]), Box::new(Relu)];
        assert_eq!(path(&boxed[0], &boxed), "[0]");
        assert_eq!(path(&*boxed[0], &boxed), "[0]");
        assert_eq!(path(&boxed[1], &boxed), "[1]");
        let shared = Arc::new(linear(1));
        let layers = (linear(1), Some(Arc::clone(&shared)));
        assert_eq!(path(&*shared, &layers), "[1]");
        assert_eq!(path(&Arc::clone(&shared), &layers), "[1]");
        assert_eq!(path(&Some(shared), &layers), "[1]");
    }

    #[test]
    fn layers_outside_the_module_and_ambiguous_layers_have_no_path() {
        let list = vec![linear(1)];
        assert_eq!(path(&linear(1), &list), "");
        let empty: [[Linear; 0]; 2] = [[], []];
        assert_eq!(path(&empty[1], &empty), "");
        let activations = [Relu, Relu];
        assert_eq!(path(&activations[1], &activations), "[1]");
        assert_eq!(path(&activations[1], &(linear(1), Relu)), "");
    }
}
