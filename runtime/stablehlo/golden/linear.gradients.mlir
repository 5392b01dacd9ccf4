"builtin.module"() ({
  "func.func"() <{function_type = (tensor<2x3xf32>, tensor<2xf32>, tensor<4x3xf32>, tensor<4x2xf32>) -> (tensor<4x2xf32>, tensor<2x3xf32>, tensor<2xf32>), sym_name = "main", sym_visibility = "public"}> ({
  ^bb0(%0: tensor<2x3xf32> loc("0.weight"), %1: tensor<2xf32> loc("0.bias"), %2: tensor<4x3xf32> loc("input"), %3: tensor<4x2xf32> loc("output_gradient")):
    %4 = "stablehlo.dot_general"(%2, %0) <{precision_config = [#stablehlo<precision HIGHEST>, #stablehlo<precision HIGHEST>], dot_dimension_numbers = #stablehlo.dot<lhs_batching_dimensions = [], rhs_batching_dimensions = [], lhs_contracting_dimensions = [1], rhs_contracting_dimensions = [1]>}> : (tensor<4x3xf32>, tensor<2x3xf32>) -> tensor<4x2xf32> loc("Sequential[0]")
    %5 = "stablehlo.broadcast_in_dim"(%1) <{broadcast_dimensions = array<i64: 1>}> : (tensor<2xf32>) -> tensor<4x2xf32> loc("Sequential[0]")
    %6 = "stablehlo.add"(%4, %5) : (tensor<4x2xf32>, tensor<4x2xf32>) -> tensor<4x2xf32> loc("Sequential[0]")
    %7 = "stablehlo.constant"() <{value = dense<0.0e0> : tensor<f32>}> : () -> tensor<f32> loc("Sequential[0]")
    %8 = "stablehlo.reduce"(%3, %7) <{dimensions = array<i64: 0>}> ({^bb0(%a: tensor<f32>, %b: tensor<f32>): %c = "stablehlo.add"(%a, %b) : (tensor<f32>, tensor<f32>) -> tensor<f32> "stablehlo.return"(%c) : (tensor<f32>) -> ()}) : (tensor<4x2xf32>, tensor<f32>) -> tensor<2xf32> loc("Sequential[0]")
    %9 = "stablehlo.dot_general"(%3, %2) <{precision_config = [#stablehlo<precision HIGHEST>, #stablehlo<precision HIGHEST>], dot_dimension_numbers = #stablehlo.dot<lhs_batching_dimensions = [], rhs_batching_dimensions = [], lhs_contracting_dimensions = [0], rhs_contracting_dimensions = [0]>}> : (tensor<4x2xf32>, tensor<4x3xf32>) -> tensor<2x3xf32> loc("Sequential[0]")
    "func.return"(%6, %9, %8) : (tensor<4x2xf32>, tensor<2x3xf32>, tensor<2xf32>) -> ()
  }) : () -> ()
}) : () -> ()
