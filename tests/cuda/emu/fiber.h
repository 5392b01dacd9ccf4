// Switches between fibers: saves the callee-saved registers and the stack pointer. (`swapcontext` would work
// too, but it makes a system call for the signal mask each time.)
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace cuda_cpu {
#if defined(__x86_64__)
extern "C" void cuda_cpu_switch(void **from, void *to) __asm__("cuda_cpu_switch");
__asm__(R"(
    .text
    .globl cuda_cpu_switch
cuda_cpu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

class Context {
  public:
    void start(char *stack, size_t bytes, void (*entry)()) {
        // The stack of a fiber that has not run yet: six registers, the address of `entry`, to which the switch
        // returns, and an unused return address for `entry`.
        void **top = reinterpret_cast<void **>((reinterpret_cast<uintptr_t>(stack) + bytes) & ~uintptr_t(15));
        *--top = nullptr;
        *--top = reinterpret_cast<void *>(entry);
        for (int i = 0; i < 6; i++) *--top = nullptr;
        sp_ = top;
    }
    void go_to(Context &other) { cuda_cpu_switch(&sp_, other.sp_); }

  private:
    void *sp_ = nullptr;
};

#elif defined(__aarch64__)
extern "C" void cuda_cpu_switch(void **from, void *to) __asm__("cuda_cpu_switch");
__asm__(R"(
    .text
    .globl cuda_cpu_switch
cuda_cpu_switch:
    sub sp, sp, #160
    stp x19, x20, [sp]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x2, sp
    str x2, [x0]
    mov sp, x1
    ldp x19, x20, [sp]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
)");

class Context {
  public:
    void start(char *stack, size_t bytes, void (*entry)()) {
        void **top = reinterpret_cast<void **>((reinterpret_cast<uintptr_t>(stack) + bytes) & ~uintptr_t(15));
        top -= 20;
        memset(top, 0, 160);
        top[11] = reinterpret_cast<void *>(entry);  // x30, where `ret` goes
        sp_ = top;
    }
    void go_to(Context &other) { cuda_cpu_switch(&sp_, other.sp_); }

  private:
    void *sp_ = nullptr;
};

#else
}  // namespace cuda_cpu
#include <ucontext.h>
namespace cuda_cpu {
class Context {
  public:
    void start(char *stack, size_t bytes, void (*entry)()) {
        getcontext(&context_);
        context_.uc_stack.ss_sp = stack;
        context_.uc_stack.ss_size = bytes;
        context_.uc_link = nullptr;
        makecontext(&context_, entry, 0);
    }
    void go_to(Context &other) { swapcontext(&context_, &other.context_); }

  private:
    ucontext_t context_;
};
#endif
}  // namespace cuda_cpu
