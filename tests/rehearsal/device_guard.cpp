// A CUDA device that does nothing, for builds of PyTorch without CUDA.
//
// Autograd runs the backward pass of a device in a thread of that device, and asks a
// guard for it; convolutions ask the hooks whether cuDNN is there. Nothing is computed
// here: that is left to fake tensors.
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

namespace {
using c10::Device;
using c10::DeviceIndex;
using c10::DeviceType;
using c10::Stream;

constexpr DeviceIndex kDevices = 2;
thread_local DeviceIndex current = 0;

Stream default_stream(Device device) { return Stream(Stream::DEFAULT, device); }

struct Guard final : c10::impl::NoOpDeviceGuardImpl<DeviceType::CUDA> {
  Device exchangeDevice(Device device) const override {
    const Device before(DeviceType::CUDA, current);
    setDevice(device);
    return before;
  }
  Device getDevice() const override { return Device(DeviceType::CUDA, current); }
  void setDevice(Device device) const override { current = device.index(); }
  void uncheckedSetDevice(Device device) const noexcept override {
    current = device.index();
  }
  DeviceIndex deviceCount() const noexcept override { return kDevices; }
  Stream getStream(Device device) const noexcept override {
    return default_stream(device);
  }
  Stream getNewStream(Device device, int = 0) const override {
    return default_stream(device);
  }
  Stream getDefaultStream(Device device) const override {
    return default_stream(device);
  }
  Stream exchangeStream(Stream stream) const noexcept override { return stream; }
  void record(void** event, const Stream&, const DeviceIndex,
              const c10::EventFlag) const override {
    *event = reinterpret_cast<void*>(1);
  }
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const DeviceIndex) const noexcept override {}
  bool queryStream(const Stream&) const override { return true; }
  void synchronizeStream(const Stream&) const override {}
  void synchronizeEvent(void*) const override {}
};

struct Hooks final : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return kDevices; }
  int getNumGPUs() const override { return kDevices; }
  void setCurrentDevice(DeviceIndex index) const override { current = index; }
  DeviceIndex getCurrentDevice() const override { return current; }
  DeviceIndex current_device() const override { return current; }
  DeviceIndex exchangeDevice(DeviceIndex index) const override {
    const DeviceIndex before = current;
    current = index;
    return before;
  }
  DeviceIndex maybeExchangeDevice(DeviceIndex index) const override {
    return exchangeDevice(index);
  }
  bool hasCuDNN() const override { return true; }
  bool compiledWithCuDNN() const override { return true; }
  long versionCuDNN() const override { return 91000; }
  long versionRuntimeCuDNN() const override { return 91000; }
  bool supportsDilatedConvolutionWithCuDNN() const override { return true; }
  bool supportsDepthwiseConvolutionWithCuDNN() const override { return true; }
  bool supportsBFloat16ConvolutionWithCuDNNv8() const override { return true; }
  double batchnormMinEpsilonCuDNN() const override { return 1e-5; }
};

// PyTorch has made and kept an object of empty hooks by now: it gets these functions.
__attribute__((constructor)) void replace_hooks() {
  auto& kept = const_cast<at::CUDAHooksInterface&>(at::detail::getCUDAHooks());
  static Hooks hooks{at::CUDAHooksArgs{}};
  *reinterpret_cast<void**>(&kept) = *reinterpret_cast<void**>(&hooks);
}
}  // namespace

C10_REGISTER_GUARD_IMPL(CUDA, Guard)
