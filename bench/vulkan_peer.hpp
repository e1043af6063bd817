// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Timeline semaphores of Vulkan, on Mesa's lavapipe: a device in software, as Interlock's. Made at
/// the first use, since that loads a compiler.

#if defined(INTERLOCK_BENCH_LIBVULKAN)

#include <vulkan/vulkan.h>

#include <cstdint>
#include <vector>

namespace vulkan {

/// Null if there is no device in software with timelines.
inline VkDevice make_device() {
  VkApplicationInfo application{};
  application.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO;
  application.apiVersion = VK_API_VERSION_1_2;
  VkInstanceCreateInfo instance_info{};
  instance_info.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
  instance_info.pApplicationInfo = &application;
  VkInstance instance = nullptr;
  if (vkCreateInstance(&instance_info, nullptr, &instance) != VK_SUCCESS) return nullptr;
  std::uint32_t count = 0;
  vkEnumeratePhysicalDevices(instance, &count, nullptr);
  std::vector<VkPhysicalDevice> devices(count);
  vkEnumeratePhysicalDevices(instance, &count, devices.data());
  for (const VkPhysicalDevice physical : devices) {
    VkPhysicalDeviceProperties properties;
    vkGetPhysicalDeviceProperties(physical, &properties);
    if (properties.deviceType != VK_PHYSICAL_DEVICE_TYPE_CPU) continue;
    const float priority = 1;
    VkDeviceQueueCreateInfo queue{};
    queue.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO;
    queue.queueCount = 1;
    queue.pQueuePriorities = &priority;
    VkPhysicalDeviceTimelineSemaphoreFeatures timelines{};
    timelines.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES;
    timelines.timelineSemaphore = VK_TRUE;
    VkDeviceCreateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
    info.pNext = &timelines;
    info.queueCreateInfoCount = 1;
    info.pQueueCreateInfos = &queue;
    VkDevice device = nullptr;
    if (vkCreateDevice(physical, &info, nullptr, &device) == VK_SUCCESS) return device;
  }
  return nullptr;
}

inline VkDevice device() {
  static const VkDevice made = make_device();
  return made;
}

inline constexpr const char* missing = "no Vulkan device of type CPU: lavapipe is not installed";

/// One timeline semaphore, from 0.
class timeline {
 public:
  timeline() {
    VkSemaphoreTypeCreateInfo type{};
    type.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO;
    type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
    VkSemaphoreCreateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO;
    info.pNext = &type;
    vkCreateSemaphore(device(), &info, nullptr, &semaphore_);
  }
  timeline(const timeline&) = delete;
  timeline& operator=(const timeline&) = delete;
  ~timeline() { vkDestroySemaphore(device(), semaphore_, nullptr); }

  void signal(std::uint64_t value) {
    VkSemaphoreSignalInfo info{};
    info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_SIGNAL_INFO;
    info.semaphore = semaphore_;
    info.value = value;
    vkSignalSemaphore(device(), &info);
  }
  [[nodiscard]] std::uint64_t value() {
    std::uint64_t value = 0;
    vkGetSemaphoreCounterValue(device(), semaphore_, &value);
    return value;
  }
  bool wait(std::uint64_t value) {
    VkSemaphoreWaitInfo info{};
    info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO;
    info.semaphoreCount = 1;
    info.pSemaphores = &semaphore_;
    info.pValues = &value;
    return vkWaitSemaphores(device(), &info, UINT64_MAX) == VK_SUCCESS;
  }
  [[nodiscard]] VkSemaphore handle() const noexcept { return semaphore_; }

 private:
  VkSemaphore semaphore_ = nullptr;
};

}  // namespace vulkan

#endif
