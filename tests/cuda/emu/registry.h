// Registers each kernel with its name and the types of its parameters.
#pragma once
#include "half.h"
#include "launch.h"
#include <type_traits>
#include <utility>

namespace cuda_cpu {
template <class T>
constexpr Pointee pointee() {
    using U = std::remove_cv_t<T>;
    if (std::is_same_v<U, float>) return Pointee::F32;
    if (std::is_same_v<U, double>) return Pointee::F64;
    if (std::is_same_v<U, __half>) return Pointee::F16;
    if (std::is_same_v<U, __nv_bfloat16>) return Pointee::BF16;
    if (std::is_same_v<U, unsigned char>) return Pointee::U8;
    if (std::is_same_v<U, unsigned>) return Pointee::U32;
    if (std::is_same_v<U, int>) return Pointee::I32;
    if (std::is_same_v<U, long> || std::is_same_v<U, long long>) return Pointee::I64;
    return Pointee::Other;
}

template <class T>
constexpr Parameter parameter() {
    if constexpr (std::is_pointer_v<T>) {
        using To = std::remove_pointer_t<T>;
        return {Kind::Pointer, pointee<To>(), std::is_const_v<To>, sizeof(T)};
    } else {
        const Kind kind = std::is_same_v<T, int>      ? Kind::Int
                          : std::is_same_v<T, float>  ? Kind::Float
                          : std::is_same_v<T, double> ? Kind::Double
                          : std::is_class_v<T> && std::is_trivially_copyable_v<T> && alignof(T) == alignof(int)
                              ? Kind::Struct
                              : Kind::Other;
        return {kind, Pointee::None, false, sizeof(T)};
    }
}

void add(const Kernel &kernel);

template <class... A, size_t... I>
void call(const void *function, void **args, std::index_sequence<I...>) {
    reinterpret_cast<void (*)(A...)>(const_cast<void *>(function))(*static_cast<A *>(args[I])...);
}

struct Registration {
    template <class... A>
    Registration(const char *name, const char *file, void (*kernel)(A...)) {
        static constexpr Parameter parameters[] = {parameter<A>()..., {Kind::Other, Pointee::None, false, 0}};
        add({name, file, parameters, sizeof...(A), reinterpret_cast<const void *>(kernel),
             [](const void *function, void **args) { call<A...>(function, args, std::index_sequence_for<A...>{}); }});
    }
};
}  // namespace cuda_cpu

#define CUDA_CPU_EXPORT(kernel) static const cuda_cpu::Registration register_##kernel{#kernel, __FILE__, kernel};
