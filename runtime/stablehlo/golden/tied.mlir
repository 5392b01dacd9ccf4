"builtin.module"() ({
  "func.func"() <{function_type = (tensor<7x4xf32>, tensor<1x3xi64>) -> (tensor<1x3x7xf32>), sym_name = "main", sym_visibility = "public"}> ({
  ^bb0(%0: tensor<7x4xf32> loc("embedding.weight"), %1: tensor<1x3xi64> loc("input")):
    %2 = "stablehlo.gather"(%0, %1) <{indices_are_sorted = false, slice_sizes = array<i64: 1, 4>, dimension_numbers = #stablehlo.gather<offset_dims = [2], collapsed_slice_dims = [0], start_index_map = [0], index_vector_dim = 2>}> : (tensor<7x4xf32>, tensor<1x3xi64>) -> tensor<1x3x4xf32> loc("Tied.embedding")
    %3 = "stablehlo.dot_general"(%2, %0) <{precision_config = [#stablehlo<precision HIGHEST>, #stablehlo<precision HIGHEST>], dot_dimension_numbers = #stablehlo.dot<lhs_batching_dimensions = [], rhs_batching_dimensions = [], lhs_contracting_dimensions = [2], rhs_contracting_dimensions = [1]>}> : (tensor<1x3x4xf32>, tensor<7x4xf32>) -> tensor<1x3x7xf32> loc("Tied.head")
    %4 = "stablehlo.constant"() <{value = dense<0xFF800000> : tensor<f32>}> : () -> tensor<f32> loc("Tied")
    %5 = "stablehlo.reduce"(%3, %4) <{dimensions = array<i64: 2>}> ({^bb0(%a: tensor<f32>, %b: tensor<f32>): %c = "stablehlo.maximum"(%a, %b) : (tensor<f32>, tensor<f32>) -> tensor<f32> "stablehlo.return"(%c) : (tensor<f32>) -> ()}) : (tensor<1x3x7xf32>, tensor<f32>) -> tensor<1x3xf32> loc("Tied")
    %6 = "stablehlo.reshape"(%5) : (tensor<1x3xf32>) -> tensor<1x3x1xf32> loc("Tied")
    %7 = "stablehlo.broadcast_in_dim"(%6) <{broadcast_dimensions = array<i64: 0, 1, 2>}> : (tensor<1x3x1xf32>) -> tensor<1x3x7xf32> loc("Tied")
    %8 = "stablehlo.subtract"(%3, %7) : (tensor<1x3x7xf32>, tensor<1x3x7xf32>) -> tensor<1x3x7xf32> loc("Tied")
    %9 = "stablehlo.exponential"(%8) : (tensor<1x3x7xf32>) -> tensor<1x3x7xf32> loc("Tied")
    %10 = "stablehlo.constant"() <{value = dense<0.0e0> : tensor<f32>}> : () -> tensor<f32> loc("Tied")
    %11 = "stablehlo.reduce"(%9, %10) <{dimensions = array<i64: 2>}> ({^bb0(%a: tensor<f32>, %b: tensor<f32>): %c = "stablehlo.add"(%a, %b) : (tensor<f32>, tensor<f32>) -> tensor<f32> "stablehlo.return"(%c) : (tensor<f32>) -> ()}) : (tensor<1x3x7xf32>, tensor<f32>) -> tensor<1x3xf32> loc("Tied")
    %12 = "stablehlo.reshape"(%11) : (tensor<1x3xf32>) -> tensor<1x3x1xf32> loc("Tied")
    %13 = "stablehlo.broadcast_in_dim"(%12) <{broadcast_dimensions = array<i64: 0, 1, 2>}> : (tensor<1x3x1xf32>) -> tensor<1x3x7xf32> loc("Tied")
    %14 = "stablehlo.divide"(%9, %13) : (tensor<1x3x7xf32>, tensor<1x3x7xf32>) -> tensor<1x3x7xf32> loc("Tied")
    "func.return"(%14) : (tensor<1x3x7xf32>) -> ()
  }) : () -> ()
}) : () -> ()
