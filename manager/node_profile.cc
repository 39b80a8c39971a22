#include "manager/node_profile.h"

#include "hearth/v1/enroll.pb.h"

namespace hearth::manager {

Result<NodeProfile> ReadProfile(const v1::NodeInfo& info) {
  NodeProfile profile;
  profile.name = info.name();
  profile.labels = {info.labels().begin(), info.labels().end()};
  profile.data_address = info.data_address();
  profile.control_address = info.control_address();
  TRY_STATUS(CheckProfile(profile));
  return profile;
}

}  // namespace hearth::manager
