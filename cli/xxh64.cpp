// SPDX-License-Identifier: Apache-2.0
#include "xxh64.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace interlock::cli {

namespace {

constexpr std::uint64_t prime1 = 0x9e3779b185ebca87;
constexpr std::uint64_t prime2 = 0xc2b2ae3d27d4eb4f;
constexpr std::uint64_t prime3 = 0x165667b19e3779f9;
constexpr std::uint64_t prime4 = 0x85ebca77c2b2ae63;
constexpr std::uint64_t prime5 = 0x27d4eb2f165667c5;

static_assert(std::endian::native == std::endian::little,
              "words are read in the byte order of memory");

template <class Word>
Word read(const std::byte* from) noexcept {
  Word word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

std::uint64_t round(std::uint64_t lane, std::uint64_t input) noexcept {
  return std::rotl(lane + input * prime2, 31) * prime1;
}

std::uint64_t merge(std::uint64_t hash, std::uint64_t lane) noexcept {
  return (hash ^ round(0, lane)) * prime1 + prime4;
}

}  // namespace

void xxh64::consume(const std::byte* data) noexcept {
  for (std::size_t i = 0; i < 4; ++i) {
    lanes_[i] = round(lanes_[i], read<std::uint64_t>(data + 8 * i));
  }
}

void xxh64::update(std::span<const std::byte> data) noexcept {
  total_ += data.size();
  if (pending_size_ != 0) {
    const std::size_t take = std::min(stripe - pending_size_, data.size());
    std::copy_n(data.data(), take, pending_ + pending_size_);
    pending_size_ += take;
    data = data.subspan(take);
    if (pending_size_ < stripe) return;
    consume(pending_);
  }
  for (; data.size() >= stripe; data = data.subspan(stripe)) consume(data.data());
  std::copy_n(data.data(), data.size(), pending_);
  pending_size_ = data.size();
}

std::uint64_t xxh64::digest() const noexcept {
  std::uint64_t hash = prime5;
  if (total_ >= stripe) {
    hash = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) +
           std::rotl(lanes_[3], 18);
    for (const std::uint64_t lane : lanes_) hash = merge(hash, lane);
  }
  hash += total_;

  const std::byte* at = pending_;
  const std::byte* const end = pending_ + pending_size_;
  for (; end - at >= 8; at += 8) {
    hash = std::rotl(hash ^ round(0, read<std::uint64_t>(at)), 27) * prime1 + prime4;
  }
  if (end - at >= 4) {
    hash = std::rotl(hash ^ read<std::uint32_t>(at) * prime1, 23) * prime2 + prime3;
    at += 4;
  }
  for (; at != end; ++at) {
    hash = std::rotl(hash ^ std::to_integer<std::uint64_t>(*at) * prime5, 11) * prime1;
  }
  hash = (hash ^ hash >> 33) * prime2;
  hash = (hash ^ hash >> 29) * prime3;
  return hash ^ hash >> 32;
}

}  // namespace interlock::cli
